"""Inputs of models: layouts, sizes, types, and those that are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import TensorProto, helper

from models.conversion.errors import FileBroken, UnsupportedModel, UnsupportedOperator
from models.conversion.onnx.image_input import find_image_input
from models.conversion.onnx.importer import convert
from tests.support.onnx_models import build_model, compare, convert_model, integers, node, numbers

if TYPE_CHECKING:
    from pathlib import Path

NODES = [node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "f"), node("Gemm", "f w b")]
WEIGHTS = {"w": numbers(3, 5), "b": numbers(5)}
CHANNELS_LAST = [node("ReduceMean", "x", "f", axes=[1, 2], keepdims=0), node("Gemm", "f w b")]


@pytest.mark.parametrize("batch", ["N", None, 1, 4])
def test_any_batch_and_a_fixed_one(batch: str | int | None, tmp_path: Path) -> None:
    converted = convert_model(build_model(NODES, WEIGHTS, images=(batch, 3, 8, 6)), tmp_path)
    assert converted.input_size == (3, 8, 6)
    compare(converted)
    assert any("written for a batch" in note for note in converted.notes) == isinstance(batch, int)


@pytest.mark.parametrize("batch", ["N", 1])
def test_channels_last(batch: str | int, tmp_path: Path) -> None:
    converted = convert_model(build_model(CHANNELS_LAST, WEIGHTS, images=(batch, 8, 6, 3)), tmp_path)
    assert converted.input_size == (3, 8, 6)
    compare(converted)


def test_channels_last_with_its_own_transpose(tmp_path: Path) -> None:
    """TensorFlow's exporters begin with it; nothing of the two transposes is left."""
    nodes = [node("Transpose", "x", "t", perm=[0, 3, 1, 2]), node("Relu", "t", "r"), node("Flatten", "r")]
    converted = convert_model(build_model(nodes, images=("N", 8, 6, 3)), tmp_path)
    compare(converted)
    assert "permute" not in str(converted.network.graph)


def test_open_sizes(tmp_path: Path) -> None:
    """A network of any size gets 224 pixels, or as many as are asked for; the layout follows from a transpose."""
    path = tmp_path / "model.onnx"
    path.write_bytes(build_model(NODES, WEIGHTS, images=("N", 3, "H", "W")).SerializeToString())
    assert convert(path).input_size == (3, 224, 224)
    assert convert(path, 64).input_size == (3, 64, 64)
    assert any("states no size" in note for note in convert(path, 64).notes)
    assert convert(path).preprocessing.input_size is None
    for layout, is_last in (([0, 3, 1, 2], True), ([0, 1, 3, 2], False)):
        nodes = [node("Transpose", "x", "t", perm=layout), node("Flatten", "t")]
        found = find_image_input(build_model(nodes, images=("N", None, None, None)))
        assert found.is_channels_last == is_last


def test_the_size_that_weights_allow_is_found(tmp_path: Path) -> None:
    """Embeddings of positions, here a linear layer, fit images of one size alone."""
    path = tmp_path / "model.onnx"
    nodes = [
        node("AveragePool", "x", "p", kernel_shape=[16, 16], strides=[16, 16]),
        node("Flatten", "p", "f"),
        NODES[2],
    ]
    for side in (96, 384):
        constants = {**WEIGHTS, "w": numbers(3 * (side // 16) ** 2, 5)}
        path.write_bytes(build_model(nodes, constants, images=("N", 3, "H", "W")).SerializeToString())
        converted = convert(path)
        assert converted.input_size == (3, side, side)
        compare(converted)
    with pytest.raises(UnsupportedOperator, match="Gemm"):
        convert(path, 224)
    path.write_bytes(build_model(nodes, WEIGHTS, images=("N", 3, "H", "W")).SerializeToString())
    with pytest.raises(UnsupportedOperator, match="Gemm"):
        convert(path)


def test_an_input_without_shape(tmp_path: Path) -> None:
    model = build_model(NODES, WEIGHTS)
    model.graph.input[0].type.tensor_type.ClearField("shape")
    assert convert_model(model, tmp_path).input_size == (3, 224, 224)


REFUSED = {
    "1 channels": ("N", 1, 8, 8),
    "4 channels": ("N", 4, 8, 8),
    "1 channels, last": ("N", 8, 8, 1),
    "5 axes": ("N", 3, 4, 8, 8),
    "2 axes": ("N", 192),
    "9999x8": ("N", 3, 9999, 8),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_shapes_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=name.split(",")[0]):
        convert_model(build_model([node("Flatten", "x")], images=REFUSED[name]), tmp_path)


def test_a_second_input_is_refused_by_name(tmp_path: Path) -> None:
    """Keras's own exporter makes statistics of a normalization inputs, and their values are lost."""
    model = build_model([node("Sub", "x mean", "s"), node("Flatten", "s")])
    model.graph.input.append(helper.make_tensor_value_info("mean", TensorProto.FLOAT, [3, 1, 1]))
    with pytest.raises(UnsupportedModel, match=r"2 inputs \('x', 'mean'\).*constants inside the file"):
        convert_model(model, tmp_path)


def test_initializers_may_be_listed_as_inputs(tmp_path: Path) -> None:
    """Files of before 2020 list all weights as inputs; and an input that nothing reads does no harm."""
    model = build_model(NODES, WEIGHTS)
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 5]))
    compare(convert_model(model, tmp_path))


@pytest.mark.parametrize("dtype", [TensorProto.INT64, TensorProto.STRING])
def test_other_types_are_refused(dtype: int, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=f"of type {TensorProto.DataType.Name(dtype)}"):
        convert_model(build_model(NODES, WEIGHTS, dtype=dtype), tmp_path)


def test_pixels_of_integers(tmp_path: Path) -> None:
    nodes = [node("Cast", "x", "c", to=1), node("Div", "c s", "d"), node("Reshape", "d shape")]
    constants = {"s": np.float32(255), "shape": integers(-1, 192)}
    converted = convert_model(build_model(nodes, constants, dtype=TensorProto.UINT8), tmp_path)
    compare(converted, has_whole_pixels=True)


def test_a_model_without_input_is_refused(tmp_path: Path) -> None:
    model = build_model([node("Flatten", "c")], {"c": numbers(2, 3)})
    model.graph.ClearField("input")
    with pytest.raises(FileBroken, match="no input for images"):
        convert_model(model, tmp_path)
