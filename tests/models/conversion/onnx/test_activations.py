"""Activations of each version against onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.support.onnx_models import check_nodes, node, numbers, over_versions

if TYPE_CHECKING:
    from pathlib import Path

ACTIVATIONS: dict[str, list[dict[str, Any]]] = {
    "Celu": [{"alpha": 2.0}],
    "Elu": [{}, {"alpha": 0.5}],
    "Gelu": [{}, {"approximate": "tanh"}],
    "HardSigmoid": [{}, {"alpha": 1 / 6, "beta": 0.5}],
    "HardSwish": [{}],
    "LeakyRelu": [{}, {"alpha": 0.3}],
    "Mish": [{}],
    "Relu": [{}],
    "Selu": [{}],
    "Sigmoid": [{}],
    "Softplus": [{}],
    "Softsign": [{}],
    "Tanh": [{}],
}
"""Activations with their attributes."""


@pytest.mark.parametrize(("kind", "opset"), over_versions(*ACTIVATIONS))
def test_activation(kind: str, opset: int, tmp_path: Path) -> None:
    for attributes in ACTIVATIONS[kind]:
        check_nodes(tmp_path, [node(kind, "x", "a", **attributes), node("Add", "a x")], opset=opset)


@pytest.mark.parametrize(("kind", "opset"), over_versions("PRelu"))
@pytest.mark.parametrize("shape", [(1,), (3, 1, 1), (1, 3, 1, 1), (1, 1, 8), (3, 8, 8)], ids=str)
def test_prelu(shape: tuple[int, ...], kind: str, opset: int, tmp_path: Path) -> None:
    check_nodes(tmp_path, [node(kind, "x slope")], {"slope": numbers(*shape)}, opset=opset)


@pytest.mark.parametrize("opset", [9, 12, 13, 23])
@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [None, 1, 2, 3, -1, -2])
def test_softmax(axis: int | None, kind: str, opset: int, tmp_path: Path) -> None:
    """Before version 13 the default axis is 1, and all axes from it on are one."""
    given = {} if axis is None else {"axis": axis}
    check_nodes(tmp_path, [node(kind, "x", "s", **given), node("Add", "s x")], opset=opset)


def test_softmax_of_vectors(tmp_path: Path) -> None:
    nodes = [node("GlobalMaxPool", "x", "largest"), node("Softmax", "largest", "s"), node("Mul", "s ten")]
    converted = check_nodes(tmp_path, nodes, {"ten": np.float32(10)}, opset=11)
    assert not converted.has_softmax
