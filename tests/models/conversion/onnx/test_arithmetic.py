"""Elementwise operators of each version against onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.onnx_models import check_nodes, node, numbers, over_versions

if TYPE_CHECKING:
    from pathlib import Path

UNARY = ["Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "Identity", "Neg", "Reciprocal", "Round", "Sign", "Sin"]
BINARY = ["Add", "Sub", "Mul", "Div", "Max", "Min", "Mod", "Sum", "Mean"]
COMPARISONS = ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"]


@pytest.mark.parametrize(("kind", "opset"), over_versions(*UNARY))
def test_unary(kind: str, opset: int, tmp_path: Path) -> None:
    check_nodes(tmp_path, [node(kind, "x")], opset=opset)


@pytest.mark.parametrize("kind", ["Sqrt", "Log"])
def test_unary_of_positive_numbers(kind: str, tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("Abs", "x", "a"), node(kind, "a")])


@pytest.mark.parametrize(("kind", "opset"), over_versions(*BINARY))
@pytest.mark.parametrize("shape", [(3, 8, 8), (3, 1, 1), (8,), (1, 3, 1, 1), (1,), ()], ids=str)
def test_binary_with_a_constant(kind: str, opset: int, shape: tuple[int, ...], tmp_path: Path) -> None:
    options = {"fmod": 1} if kind == "Mod" else {}
    constants = {"c": numbers(*shape, low=0.5, high=2.0)}
    check_nodes(tmp_path, [node(kind, "x c", **options)], constants, opset=opset)
    check_nodes(tmp_path, [node(kind, "c x", **options)], constants, opset=opset)


@pytest.mark.parametrize("kind", BINARY)
def test_binary_of_two_values(kind: str, tmp_path: Path) -> None:
    options = {"fmod": 1} if kind == "Mod" else {}
    nodes = [node("Neg", "x", "a"), node("Exp", "a", "b"), node(kind, "x b", **options)]
    check_nodes(tmp_path, nodes)


@pytest.mark.parametrize("kind", ["Max", "Min", "Sum", "Mean"])
def test_any_number_of_inputs(kind: str, tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("Neg", "x", "a"), node(kind, "x a c x")], {"c": numbers(3, 1, 1)})
    check_nodes(tmp_path, [node(kind, "x")])


@pytest.mark.parametrize(("kind", "opset"), over_versions(*COMPARISONS, since=11))
def test_comparisons_choose(kind: str, opset: int, tmp_path: Path) -> None:
    nodes = [node("Round", "x", "r"), node(kind, "r c", "chosen"), node("Where", "chosen x n")]
    check_nodes(tmp_path, nodes, {"c": np.float32([1.0]), "n": numbers(3, 1, 1)}, opset=opset)
    nodes[1] = node(kind, "c r", "chosen")
    check_nodes(tmp_path, nodes, {"c": np.float32(1.0), "n": np.float32(-3.0)}, opset=opset)


@pytest.mark.parametrize("kind", ["And", "Or", "Xor"])
def test_logic(kind: str, tmp_path: Path) -> None:
    nodes = [
        node("Greater", "x zero", "p"),
        node("Greater", "x one", "q"),
        node(kind, "p q", "both"),
        node("Not", "both", "neither"),
        node("Cast", "neither", "n", to=1),
        node("Mul", "x n"),
    ]
    check_nodes(tmp_path, nodes, {"zero": np.float32(0), "one": np.float32(1)})


@pytest.mark.parametrize(("kind", "opset"), over_versions("Pow"))
@pytest.mark.parametrize("exponent", [2.0, 0.5, 3.0, -1.0, 1.7])
def test_pow(exponent: float, kind: str, opset: int, tmp_path: Path) -> None:
    nodes = [node("Abs", "x", "a"), node("Add", "a one", "p"), node(kind, "p e")]
    check_nodes(tmp_path, nodes, {"e": np.float32(exponent), "one": np.float32(1)}, opset=opset)


def test_pow_of_a_constant(tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("Pow", "c x")], {"c": np.float32(2.0)})


@pytest.mark.parametrize("bounds", [(0.0, 6.0), (-0.5, 0.5), (-0.25, None), (None, 0.75), (None, None)], ids=str)
def test_clip(bounds: tuple[float | None, float | None], tmp_path: Path) -> None:
    """Bounds are attributes up to version 10, and inputs from 11 on."""
    names = ["min", "max"]
    given = {name: bound for name, bound in zip(names, bounds, strict=True) if bound is not None}
    check_nodes(tmp_path, [node("Clip", "x", **given)], opset=10)
    inputs = " ".join(name if name in given else "-" for name in names)
    constants = {name: np.float32(bound) for name, bound in given.items()}
    for opset in (11, 12, 13, 23):
        check_nodes(tmp_path, [node("Clip", f"x {inputs}")], constants, opset=opset)


@pytest.mark.parametrize(("kind", "opset"), over_versions("Cast"))
def test_cast(kind: str, opset: int, tmp_path: Path) -> None:
    """Integers are cut towards zero; other kinds of float change nothing but rounding."""
    nodes = [node("Mul", "x c", "s"), node(kind, "s", "i", to=7), node(kind, "i", to=1)]
    check_nodes(tmp_path, nodes, {"c": np.float32([9.0])}, opset=opset)
    check_nodes(tmp_path, [node(kind, "x", "d", to=11), node(kind, "d", to=1)], opset=opset)


def test_cast_like(tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("CastLike", "x c", "d"), node("CastLike", "d x")], {"c": np.float64(1)})


def test_dropout_is_left_out(tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("Dropout", "x", "y mask", ratio=0.5)], opset=9)
    check_nodes(tmp_path, [node("Dropout", "x ratio", "y")], {"ratio": np.float32(0.5)}, opset=13)


def test_integers_are_divided_towards_zero(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "shape"),
        node("Div", "shape seven", "parts"),  # of 8, 1
        node("Gather", "parts three", "part"),
        node("Cast", "part", "scale", to=1),
        node("Sub", "x scale"),
    ]
    check_nodes(tmp_path, nodes, {"seven": np.int64(7), "three": np.int64(3)})
