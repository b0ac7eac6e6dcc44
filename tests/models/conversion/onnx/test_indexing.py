"""Slices, gathers and masks of each version against onnxruntime."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from models.conversion.errors import UnsupportedModel, UnsupportedOperator
from models.conversion.onnx.importer import convert
from tests.support.onnx_models import build_model, check_nodes, compare, convert_model, integers, node, numbers

if TYPE_CHECKING:
    from pathlib import Path

SLICES: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...] | None]] = [
    ((1,), (3,), (2,), None),
    ((0, 2), (2, 100), (1, 3), None),
    ((-3,), (2**63 - 1,), (-1,), None),
    ((1,), (-1,), (-2,), (2,)),
    ((-1,), (-100,), (1,), (-1,)),  # RGB to BGR
    ((6, 0), (1, 8), (2, 3), (-2, 3)),
    ((-1,), (-(2**63),), (3,), (-1,)),
]


@pytest.mark.parametrize(("starts", "ends", "axes", "steps"), SLICES, ids=str)
def test_slice(
    starts: tuple[int, ...], ends: tuple[int, ...], axes: tuple[int, ...], steps: tuple[int, ...] | None, tmp_path: Path
) -> None:
    """Numbers are attributes in version 9."""
    if steps is None:
        check_nodes(tmp_path, [node("Slice", "x", starts=starts, ends=ends, axes=axes)], opset=9)
    names = {"starts": starts, "ends": ends, "axes": axes, **({"steps": steps} if steps else {})}
    constants = {name: integers(*given) for name, given in names.items()}
    for opset in (10, 13, 23):
        check_nodes(tmp_path, [node("Slice", f"x {' '.join(names)}")], constants, opset=opset, is_static_too=opset > 20)


def test_slice_without_axes_keeps_the_whole_batch(tmp_path: Path) -> None:
    """TensorFlow's x[:, 1:3] names the batch's axis too."""
    nodes = [node("Slice", "x starts ends")]
    constants = {"starts": integers(0, 1), "ends": integers(2**31 - 1, 3)}
    check_nodes(tmp_path, nodes, constants)
    check_nodes(tmp_path, nodes, {"starts": integers(0, 1), "ends": integers(1, 3)}, images=(1, 3, 8, 8))


def test_slice_to_a_size_that_is_computed(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "b", axis=0),
        node("Slice", "x zero b zero", "whole"),
        node("Slice", "s two three", "h"),
        node("Div", "h two", "half"),
        node("Slice", "whole half h two"),
    ]
    constants = {"zero": integers(0), "two": integers(2), "three": integers(3)}
    check_nodes(tmp_path, nodes, constants, is_static_too=True)


def test_slice_of_the_batch_is_refused(tmp_path: Path) -> None:
    nodes = [node("Slice", "x zero one zero", "s"), node("Flatten", "s")]
    with pytest.raises(UnsupportedModel, match="mixes the images"):
        convert_model(build_model(nodes, {"zero": integers(0), "one": integers(1)}, images=(2, 3, 8, 8)), tmp_path)


INDICES = {
    "one": np.int64(1),
    "last": np.int64(-1),
    "several": integers(2, 0, -2),
    "table": np.array([[0, 1], [2, 2], [1, 0]], np.int64),
    "row": integers(1),
}


@pytest.mark.parametrize("axis", [1, 2, -1])
@pytest.mark.parametrize("index", INDICES)
def test_gather(index: str, axis: int, tmp_path: Path) -> None:
    for opset in (9, 23):
        nodes = [node("Gather", "x i", axis=axis)]
        check_nodes(tmp_path, nodes, {"i": INDICES[index]}, opset=opset, is_static_too=opset == 23)


def test_gather_in_front_of_the_batch(tmp_path: Path) -> None:
    """q, k and v: the axis of three comes first."""
    nodes = [
        node("Reshape", "x shape", "r"),
        node("Transpose", "r", "t", perm=[1, 0, 2, 3]),
        node("Gather", "t two", "v", axis=0),
        node("Gather", "t zero", "q", axis=0),
        node("Sub", "q v"),
    ]
    constants = {"shape": integers(0, 3, 8, 8), "two": np.int64(2), "zero": np.int64(0)}
    check_nodes(tmp_path, nodes, constants, is_static_too=True)


def test_gather_by_places_of_every_image(tmp_path: Path) -> None:
    """Torch's exporter writes as_strided like this: a flat value, and places that go on from image to image."""
    nodes = [
        node("GlobalMaxPool", "x", "p"),
        node("Reshape", "p all", "flat"),
        node("Shape", "x", "s"),
        node("Gather", "s zero", "b", axis=0),
        node("Range", "zero b one", "images"),
        node("Mul", "images three", "starts"),
        node("Unsqueeze", "starts axis", "column"),
        node("Add", "column places", "indices"),
        node("Gather", "flat indices", axis=0),
    ]
    constants = {"all": integers(-1), "zero": np.int64(0), "one": np.int64(1), "three": np.int64(3)}
    for places in (integers(0, 1, 2), integers(2, 0)):
        check_nodes(tmp_path, nodes, {**constants, "axis": integers(1), "places": places}, is_static_too=True)


def test_gather_from_other_images_is_refused(tmp_path: Path) -> None:
    nodes = [node("Gather", "x i", "g", axis=0), node("Flatten", "g")]
    with pytest.raises(UnsupportedModel, match="mixes the images"):
        convert_model(build_model(nodes, {"i": integers(0, 0)}), tmp_path)


def test_gather_by_the_image_is_refused(tmp_path: Path) -> None:
    nodes = [node("ArgMax", "x", "i", axis=3), node("Gather", "table i", "g"), node("Flatten", "g")]
    with pytest.raises(UnsupportedOperator, match="computed from the image"):
        convert_model(build_model(nodes, {"table": numbers(8, 2)}), tmp_path)


def test_gather_beyond_the_end_is_refused(tmp_path: Path) -> None:
    nodes = [node("Gather", "x i", "g", axis=1), node("Flatten", "g")]
    with pytest.raises(UnsupportedOperator, match="beyond the 3 elements"):
        convert_model(build_model(nodes, {"i": integers(3)}), tmp_path)


def test_constants_are_gathered_scattered_and_masked(tmp_path: Path) -> None:
    """Masks and tables of relative positions are computed from constants."""
    nodes = [
        node("GatherElements", "table places", "a", axis=1),
        node("GatherND", "table pairs", "b"),
        node("ScatterND", "a pairs b", "c"),
        node("Trilu", "c one", "d", upper=0),
        node("NonZero", "d", "e"),
        node("Cast", "e", "f", to=1),
        node("ReduceSum", "f", "g", keepdims=0),
        node("Gather", "d zero", "row", axis=0),
        node("Add", "x g", "h"),
        node("Mul", "h row"),
    ]
    constants = {
        "table": numbers(3, 8),
        "places": np.array([[7, 6, 5, 4, 3, 2, 1, 0]] * 3, np.int64),
        "pairs": np.array([[0, 1], [2, 3]], np.int64),
        "one": np.int64(5),
        "zero": np.int64(0),
    }
    check_nodes(tmp_path, nodes, constants)


class BlockAdder(nn.Module):
    """Adds to a block of the image's pixels in place, as attention with relative positions does."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        changed = images.clone()
        changed[:, :, 2:, 1:5] += images[:, :1, :-2, 3:7] * 2
        return changed.flatten(1)


def test_a_block_of_the_image_is_replaced(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            BlockAdder(),
            (torch.zeros(2, 3, 8, 8),),
            tmp_path / "model.onnx",
            input_names=["x"],
            dynamic_axes={"x": {0: "N"}},
            dynamo=False,
        )
    assert any(made.op_type == "ScatterND" for made in onnx.load(tmp_path / "model.onnx").graph.node)
    compare(convert(tmp_path / "model.onnx"))


@pytest.mark.parametrize("places", [[[0, 0, 0, 0], [0, 0, 0, 2]], [[0, 0, 0, 1], [0, 0, 0, 0]]], ids=str)
def test_scattered_places_of_the_image_are_refused(places: list[list[int]], tmp_path: Path) -> None:
    nodes = [
        node("ReduceMax", "x", "m", axes=[1, 2, 3]),
        node("Reshape", "m shape", "u"),
        node("ScatterND", "x places u", "s"),
        node("Flatten", "s"),
    ]
    constants = {"shape": integers(-1, 1, 1, 2), "places": np.array(places, np.int64).reshape(1, 1, 1, 2, 4)}
    with pytest.raises((UnsupportedOperator, UnsupportedModel)):
        convert_model(build_model(nodes, constants, images=(2, 3, 8, 8)), tmp_path)


@pytest.mark.parametrize("upper", [0, 1])
def test_triangle(upper: int, tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("Trilu", "x k", upper=upper)], {"k": np.int64(-1)}, opset=14)
