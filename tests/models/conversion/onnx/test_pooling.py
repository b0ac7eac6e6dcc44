"""Pooling, padding and resizing with random attributes against onnxruntime."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from torch import nn

from models.conversion.errors import UnsupportedOperator
from tests.support.onnx_models import build_model, check_nodes, convert_model, integers, node, numbers

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = [*range(20), *(pytest.param(number, marks=pytest.mark.extended) for number in range(20, 300))]


def draw_pooling(seed: int, has_dilation: bool, axes: int = 2) -> dict[str, Any]:
    """Draw the attributes of a pooling."""
    random_numbers = random.Random(seed)
    kernel = [random_numbers.randint(1, 4) for _ in range(axes)]
    attributes: dict[str, Any] = {"kernel_shape": kernel}
    if random_numbers.random() < 0.8:
        attributes["strides"] = [random_numbers.randint(1, 3) for _ in kernel]
    padding = random_numbers.choice(["pads", "pads", "SAME_UPPER", "SAME_LOWER", "VALID", None])
    if padding == "pads":
        attributes["pads"] = [random_numbers.randint(0, length - 1) for length in (*kernel, *kernel)]
    elif padding:
        attributes["auto_pad"] = padding
    if padding in ("SAME_UPPER", "SAME_LOWER"):  # where windows leave gaps, onnxruntime crops what is before them
        attributes["strides"] = [random_numbers.randint(1, length) for length in kernel]
    if padding in ("pads", None):
        attributes["ceil_mode"] = random_numbers.randint(0, 1)
        if has_dilation and random_numbers.random() < 0.3:
            attributes["dilations"] = [random_numbers.randint(1, 2) for _ in kernel]
    return attributes


@pytest.mark.parametrize("seed", SEEDS)
def test_max_pool_with_random_attributes(seed: int, tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("MaxPool", "x", **draw_pooling(seed, True))], images=("N", 3, 11, 9))


@pytest.mark.parametrize("seed", SEEDS)
def test_average_pool_with_random_attributes(seed: int, tmp_path: Path) -> None:
    attributes = draw_pooling(seed, False)
    nodes = [node("AveragePool", "x", **attributes, count_include_pad=seed % 2)]
    check_nodes(tmp_path, nodes, images=("N", 3, 11, 9), opset=22)


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("seed", SEEDS[:10])
def test_pooling_on_one_axis(seed: int, kind: str, tmp_path: Path) -> None:
    """Attention over sequences of which keys and values are averaged has it."""
    pooling = node(kind, "row", **draw_pooling(seed, has_dilation=False, axes=1))
    check_nodes(tmp_path, [node("Reshape", "x shape", "row"), pooling], {"shape": integers(0, 3, -1)})


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_plain_pooling_is_torchs_own(kind: str, tmp_path: Path) -> None:
    for opset in (9, 10, 11, 12, 19, 22):
        nodes = [node(kind, "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])]
        converted = check_nodes(tmp_path, nodes, opset=opset)
    calls = [graph_node.op for graph_node in converted.network.graph.nodes]
    assert calls == ["placeholder", "call_module", "call_function", "output"]


@pytest.mark.parametrize("kind", ["GlobalAveragePool", "GlobalMaxPool"])
def test_global_pool(kind: str, tmp_path: Path) -> None:
    check_nodes(tmp_path, [node(kind, "x")], is_static_too=True)
    check_nodes(tmp_path, [node("Reshape", "x shape", "r"), node(kind, "r")], {"shape": integers(0, 3, -1)})


def test_indices_of_maxima_are_refused(tmp_path: Path) -> None:
    nodes = [node("MaxPool", "x", "p places", kernel_shape=[2, 2]), node("Cast", "places", "c", to=1)]
    with pytest.raises(UnsupportedOperator, match="output 'places' of MaxPool"):
        convert_model(build_model([*nodes, node("Flatten", "c")]), tmp_path)


PADS = [0, 0, 1, 2, 0, 0, 3, 0]


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad(mode: str, tmp_path: Path) -> None:
    """Numbers are attributes up to version 10 and inputs from 11 on, for some axes alone from 18 on."""
    check_nodes(tmp_path, [node("Pad", "x", mode=mode, pads=PADS)], opset=9)
    for opset in (11, 13, 17, 23):
        check_nodes(tmp_path, [node("Pad", "x pads", mode=mode)], {"pads": integers(*PADS)}, opset=opset)
    constants = {"pads": integers(2, 1, 0, 3), "axes": integers(-1, 2)}
    check_nodes(tmp_path, [node("Pad", "x pads - axes", mode=mode)], constants, opset=18)


def test_pad_by_a_number_in_any_axis_and_crop(tmp_path: Path) -> None:
    for pads in ([0, 2, 0, 0, 0, 1, 0, 0], [0, 0, -1, 0, 0, 0, -2, 3]):
        constants = {"pads": integers(*pads), "value": np.float32(-1.5)}
        check_nodes(tmp_path, [node("Pad", "x pads value")], constants)
    check_nodes(tmp_path, [node("Pad", "x", pads=PADS, value=2.0)], opset=9)


def test_resize_to_whole_multiples(tmp_path: Path) -> None:
    """By nearest, in the ways that exporters of each version write it."""
    scales = {"s": np.float32([1, 1, 2, 3])}
    check_nodes(tmp_path, [node("Upsample", "x s", mode="nearest")], scales, opset=9)
    check_nodes(tmp_path, [node("Resize", "x s", mode="nearest")], scales, opset=10)
    for place, rounding in (
        ("asymmetric", "floor"),
        ("half_pixel", "round_prefer_floor"),
        ("half_pixel", "round_prefer_ceil"),
    ):
        options = {"coordinate_transformation_mode": place, "nearest_mode": rounding, "mode": "nearest"}
        check_nodes(tmp_path, [node("Resize", "x - s", **options)], scales, opset=13)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("place", ["half_pixel", "pytorch_half_pixel", "align_corners"])
@pytest.mark.parametrize("scale", [2.0, 1.5, 0.5])
def test_resize_by_interpolation(scale: float, place: str, mode: str, tmp_path: Path) -> None:
    nodes = [node("Resize", "x - s", mode=mode, coordinate_transformation_mode=place)]
    check_nodes(tmp_path, nodes, {"s": np.float32([1, 1, scale, scale])}, opset=13)


def test_resize_to_sizes_of_axes(tmp_path: Path) -> None:
    options = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    nodes = [node("Resize", "x - - sizes", axes=[2, 3], **options)]
    check_nodes(tmp_path, nodes, {"sizes": integers(12, 5)}, opset=18)


def test_resize_to_sizes_with_the_batch(tmp_path: Path) -> None:
    """Exporters take the batch and channels from the value and write height and width."""
    options = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    nodes = [
        node("Shape", "x", "shape"),
        node("Slice", "shape zero two", "front"),
        node("Concat", "front hw", "sizes", axis=0),
        node("Resize", "x - - sizes", **options),
    ]
    constants = {"zero": integers(0), "two": integers(2), "hw": integers(16, 24)}
    check_nodes(tmp_path, nodes, constants, opset=13, is_static_too=True)


def test_a_resize_that_torch_does_otherwise_is_refused(tmp_path: Path) -> None:
    nodes = [node("Resize", "x - s", "r", mode="nearest", nearest_mode="ceil"), node("Flatten", "r")]
    with pytest.raises(UnsupportedOperator, match=r"Resize \('r'\).*half_pixel.*ceil"):
        convert_model(build_model(nodes, {"s": np.float32([1, 1, 1.5, 1.5])}), tmp_path)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space(mode: str, tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c"), node("DepthToSpace", "c", blocksize=2, mode=mode)]
    check_nodes(tmp_path, nodes, {"w": numbers(12, 3, 1, 1)}, opset=11)


def test_space_to_depth(tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("SpaceToDepth", "x", blocksize=2)])


def test_modules_of_pooling(tmp_path: Path) -> None:
    """TensorFlow's SAME at even sizes pads one side alone; of averages, what is padded does not count."""
    nodes = [node("AveragePool", "x", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")]
    converted = check_nodes(tmp_path, nodes)
    kinds = [type(module) for module in converted.network.modules()]
    assert nn.AvgPool2d in kinds
