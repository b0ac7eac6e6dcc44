"""Reductions of each version against onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.conversion.errors import UnsupportedModel
from tests.support.onnx_models import build_model, check_nodes, convert_model, integers, node, over_versions

if TYPE_CHECKING:
    from pathlib import Path

KINDS = [
    *("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum"),
    *("ReduceSumSquare",),
]
AXES: list[tuple[tuple[int, ...], int]] = [((3,), 0), ((1,), 1), ((-1,), 1), ((-2, 1), 0)]


@pytest.mark.parametrize(("kind", "opset"), over_versions(*KINDS))
@pytest.mark.parametrize(("axes", "keep"), AXES, ids=str)
def test_reduction(axes: tuple[int, ...], keep: int, kind: str, opset: int, tmp_path: Path) -> None:
    """Axes are an attribute up to version 17 (12 of ReduceSum), and an input from then on."""
    if opset >= (13 if kind == "ReduceSum" else 18):
        check_nodes(tmp_path, [node(kind, "x axes", keepdims=keep)], {"axes": integers(*axes)}, opset=opset)
    else:
        check_nodes(tmp_path, [node(kind, "x", axes=axes, keepdims=keep)], opset=opset)


def test_the_logarithm_of_a_sum(tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("Exp", "x", "e"), node("ReduceLogSum", "e", axes=[2, 3])])


def test_no_axes_are_none_or_all(tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("ReduceMean", "x", noop_with_empty_axes=1)], opset=18)
    with pytest.raises(UnsupportedModel, match="mixes the images of a batch"):
        convert_model(build_model([node("ReduceMean", "x", keepdims=1)], opset=17), tmp_path)


@pytest.mark.parametrize("kind", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("opset", [9, 11, 13, 23])
def test_places_of_extremes(kind: str, opset: int, tmp_path: Path) -> None:
    check_nodes(tmp_path, [node(kind, "x", "place", axis=-1, keepdims=1), node("Cast", "place", to=1)], opset=opset)


@pytest.mark.parametrize("axis", [1, -1])
def test_cumulative_sum(axis: int, tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("CumSum", "x axis")], {"axis": np.int64(axis)})


def test_the_mean_of_sizes_is_an_integer(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "shape"),
        node("Slice", "shape one four", "sizes"),
        node("ReduceMean", "sizes", "mean", keepdims=0),  # of 3, 8 and 8: 6
        node("Cast", "mean", "m", to=1),
        node("Mul", "x m"),
    ]
    check_nodes(tmp_path, nodes, {"one": integers(1), "four": integers(4)})
