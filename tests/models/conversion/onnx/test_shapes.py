"""Operators on shapes, for files of any batch and for files of one image, against onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from models.conversion.errors import UnsupportedModel, UnsupportedOperator
from tests.support.onnx_models import build_model, check_nodes, convert_model, integers, node, numbers

if TYPE_CHECKING:
    from pathlib import Path

    import onnx


@pytest.mark.parametrize(
    "shape", [(0, 3, 64), (0, 0, -1), (-1, 3, 64), (-1, 192), (0, 8, 3, 8), (-1, 1, 3, 8, 8)], ids=str
)
def test_reshape(shape: tuple[int, ...], tmp_path: Path) -> None:
    for opset in (9, 13, 23):
        check_nodes(
            tmp_path, [node("Reshape", "x shape")], {"shape": integers(*shape)}, opset=opset, is_static_too=True
        )


@pytest.mark.parametrize(
    "shape", [(1, 192), (1, -1), (1, 3, 2, 4, 8), (1, 1, 192), (192,), (3, 8, 8), (12, 16)], ids=str
)
def test_reshape_written_for_one_image(shape: tuple[int, ...], tmp_path: Path) -> None:
    nodes = [node("Reshape", "x shape", "r"), node("Neg", "r", "n"), node("Reshape", "n back")]
    constants = {"shape": integers(*shape), "back": integers(1, 3, 8, 8)}
    check_nodes(tmp_path, nodes, constants, images=(1, 3, 8, 8))


def test_windows_of_one_image(tmp_path: Path) -> None:
    """Swin's windows: the batch becomes a part of the axis of windows, and comes out of it."""
    nodes = [
        node("Reshape", "x rows", "a"),
        node("Transpose", "a", "b", perm=[0, 2, 4, 3, 5, 1]),
        node("Reshape", "b windows", "c"),
        node("MatMul", "c w", "d"),
        node("Reshape", "d apart", "e"),
        node("Transpose", "e", "f", perm=[0, 5, 1, 3, 2, 4]),
        node("Reshape", "f whole"),
    ]
    constants = {
        "rows": integers(1, 3, 2, 4, 2, 4),
        "windows": integers(4, 16, 3),
        "w": numbers(3, 5),
        "apart": integers(1, 2, 2, 4, 4, 5),
        "whole": integers(1, 5, 8, 8),
    }
    check_nodes(tmp_path, nodes, constants, images=(1, 3, 8, 8))


def attend_with_tokens_first(batch: int) -> list[onnx.NodeProto]:
    """Build torch's MultiheadAttention with tokens as the first axis: the batch merges with the axes on both sides."""
    return [
        node("Reshape", "x tokens", "t"),
        node("Transpose", "t", "lnc", perm=[1, 0, 2]),
        node("Reshape", "lnc heads", "h"),  # (L, B·heads, d)
        node("Transpose", "h", "q", perm=[1, 0, 2]),
        node("Transpose", "h", "k", perm=[1, 2, 0]),
        node("MatMul", "q k", "scores"),
        node("Softmax", "scores", "p", axis=-1),
        node("MatMul", "p q", "o"),
        node("Transpose", "o", "r", perm=[1, 0, 2]),
        node("Reshape", "r rows", "flat"),  # (L·B, C)
        node("Gemm", "flat w", "g"),
        node("Reshape", "g apart", "back"),
        node("Transpose", "back", "y", perm=[1, 0, 2]),
    ]


@pytest.mark.parametrize("batch", [1, 2])
def test_attention_with_tokens_first(batch: int, tmp_path: Path) -> None:
    constants = {
        "tokens": integers(batch, 8, 24),
        "heads": integers(8, batch * 4, 6),
        "rows": integers(8 * batch, 24),
        "apart": integers(8, batch, 24),
        "w": numbers(24, 24),
    }
    check_nodes(tmp_path, attend_with_tokens_first(batch), constants, images=(batch, 3, 8, 8))


def test_reshape_by_sizes_that_are_computed(tmp_path: Path) -> None:
    """Shape, Gather, Unsqueeze, Concat: torch's exporters write x.view(x.size(0), -1) like this."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "b", axis=0),
        node("Unsqueeze", "b first", "b1"),
        node("Concat", "b1 rest", "shape", axis=0),
        node("Reshape", "x shape"),
    ]
    constants = {"zero": np.int64(0), "first": integers(0), "rest": integers(-1, 16)}
    check_nodes(tmp_path, nodes, constants, is_static_too=True)


def test_a_shape_in_parts(tmp_path: Path) -> None:
    nodes = [node("Shape", "x", "s", start=1), node("Shape", "x", "b", end=-3), node("Concat", "b s", "t", axis=0)]
    check_nodes(tmp_path, [*nodes, node("Expand", "x t")], is_static_too=True)


def test_reshape_with_allowzero(tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("Reshape", "x shape", allowzero=1)], {"shape": integers(-1, 64, 3)}, opset=18)


@pytest.mark.parametrize("axis", [1, 2, -1, -3])
def test_flatten(axis: int, tmp_path: Path) -> None:
    nodes = [node("Flatten", "x", "f", axis=axis), node("Reshape", "f shape")]
    check_nodes(tmp_path, nodes, {"shape": integers(-1, 192)})


def test_transposes_in_a_row_become_one_or_none(tmp_path: Path) -> None:
    there, back = [0, 2, 3, 1], [0, 3, 1, 2]
    nodes = [node("Transpose", "x", "t", perm=there), node("Transpose", "t", "u", perm=back), node("Relu", "u")]
    converted = check_nodes(tmp_path, nodes, is_static_too=True)
    assert "permute" not in str(converted.network.graph)
    nodes = [node("Transpose", "x", "t", perm=there), node("Transpose", "t", "u", perm=there), node("Relu", "u")]
    converted = check_nodes(tmp_path, nodes)
    assert str(converted.network.graph).count("torch.permute") == 1


@pytest.mark.parametrize("opset", [9, 12, 13, 23])
def test_squeeze_and_unsqueeze(opset: int, tmp_path: Path) -> None:
    """Axes are an attribute up to version 12."""
    for axes in ((2, 3), (-1, -2), (3,)):
        if opset < 13:
            nodes = [
                node("GlobalMaxPool", "x", "p"),
                node("Squeeze", "p", "s", axes=axes),
                node("Unsqueeze", "s", axes=axes),
            ]
            check_nodes(tmp_path, nodes, opset=opset, is_static_too=True)
        else:
            nodes = [node("GlobalMaxPool", "x", "p"), node("Squeeze", "p a", "s"), node("Unsqueeze", "s a")]
            check_nodes(tmp_path, nodes, {"a": integers(*axes)}, opset=opset, is_static_too=True)


def test_squeeze_of_the_batch_is_refused(tmp_path: Path) -> None:
    nodes = [node("Squeeze", "x axes", "s"), node("Flatten", "s")]
    model = build_model(nodes, {"axes": integers(0)}, images=(1, 3, 8, 8))
    with pytest.raises(UnsupportedModel, match="axis of the batch away"):
        convert_model(model, tmp_path)


def test_expand(tmp_path: Path) -> None:
    nodes = [node("GlobalMaxPool", "x", "p"), node("Expand", "p shape", "e"), node("Sub", "x e")]
    for shape in ((1, 3, 8, 8), (8, 1), (3, 1, 8)):
        check_nodes(tmp_path, nodes, {"shape": integers(*shape)}, is_static_too=True)
    nodes = [node("Reshape", "x flat", "f"), node("Expand", "f shape", "e"), node("Mul", "e w")]
    constants = {"flat": integers(-1, 1, 192), "shape": integers(1, 4, 192), "w": numbers(4, 192)}
    check_nodes(tmp_path, nodes, constants, is_static_too=True)


def test_a_class_token_is_repeated_for_each_image(tmp_path: Path) -> None:
    """By Expand to the size of the batch, by ConstantOfShape times it, or as a constant of one row."""
    tokens = [node("Reshape", "x shape", "t")]
    constants = {"shape": integers(-1, 8, 24), "cls": numbers(1, 1, 24), "rest": integers(1, 24), "zero": integers(0)}
    size = [node("Shape", "x", "s"), node("Gather", "s zero", "b", axis=0), node("Concat", "b rest", "cs", axis=0)]
    end = [node("Concat", "c t", axis=1)]
    check_nodes(tmp_path, [*tokens, *size, node("Expand", "cls cs", "c"), *end], constants, is_static_too=True)
    ones = [node("ConstantOfShape", "cs", "o"), node("Add", "o cls", "c")]
    check_nodes(tmp_path, [*tokens, *size, *ones, *end], constants, is_static_too=True)
    check_nodes(tmp_path, [*tokens, node("Identity", "cls", "c"), *end], constants, images=(1, 3, 8, 8))


def test_a_class_token_of_a_file_for_several_images(tmp_path: Path) -> None:
    nodes = [node("Reshape", "x shape", "t"), node("Concat", "cls t", "c", axis=1), node("Add", "c p")]
    constants = {
        "shape": integers(4, 8, 24),
        "cls": numbers(1, 1, 24).repeat(4, 0),
        "p": numbers(1, 9, 24).repeat(4, 0),
    }
    check_nodes(tmp_path, nodes, constants, images=(4, 3, 8, 8))


def test_concat(tmp_path: Path) -> None:
    for axis in (1, 2, -1):
        check_nodes(tmp_path, [node("Neg", "x", "n"), node("Concat", "x n x", axis=axis)], is_static_too=True)


def test_concat_of_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="mixes the images"):
        convert_model(build_model([node("Concat", "x x", "c", axis=0), node("Flatten", "c")]), tmp_path)


@pytest.mark.parametrize("opset", [9, 12, 13, 18, 23])
def test_split(opset: int, tmp_path: Path) -> None:
    """Sizes are an attribute up to version 12; equal parts are counted by outputs, and by num_outputs from 18 on."""
    end = node("Concat", "c a b", axis=2)
    given = {"num_outputs": 3} if opset >= 18 else {}
    check_nodes(tmp_path, [node("Split", "x", "d e f", axis=1, **given), node("Concat", "f d e", axis=1)], opset=opset)
    if opset < 13:
        check_nodes(tmp_path, [node("Split", "x", "a b c", axis=2, split=[1, 2, 5]), end], opset=opset)
    else:
        check_nodes(
            tmp_path, [node("Split", "x sizes", "a b c", axis=-2), end], {"sizes": integers(1, 2, 5)}, opset=opset
        )
    if opset >= 18:
        check_nodes(
            tmp_path, [node("Split", "x", "a b c", axis=3, num_outputs=3), node("Concat", "c a b", axis=3)], opset=opset
        )


def test_tile(tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("Tile", "x r")], {"r": integers(1, 2, 1, 3)}, is_static_too=True)
    with pytest.raises(UnsupportedModel, match="mixes the images"):
        convert_model(
            build_model([node("Tile", "x r", "t"), node("Flatten", "t")], {"r": integers(2, 1, 1, 1)}), tmp_path
        )


def test_constants_of_shapes_and_ranges(tmp_path: Path) -> None:
    """Sine and cosine embeddings are computed from ranges."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s three", "w", axis=0),
        node("Range", "zero w one", "r"),
        node("Cast", "r", "f", to=1),
        node("Sin", "f", "sin"),
        node("ConstantOfShape", "three_axes", "c", value=numpy_value(2.0)),
        node("Mul", "c sin", "p"),
        node("Add", "x p"),
    ]
    constants = {"three": np.int64(3), "zero": np.int64(0), "one": np.int64(1), "three_axes": integers(1, 8, 8)}
    check_nodes(tmp_path, nodes, constants)


def test_one_hot_of_positions(tmp_path: Path) -> None:
    """Parts of the batch's size are known for any batch, as in what torch's repeat_interleave is exported to."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "b", axis=0),
        node("Div", "b b", "parts"),
        node("Mul", "parts eight", "depth"),
        node("OneHot", "positions depth levels", "hot", axis=1),
        node("Mul", "x hot"),
    ]
    constants = {
        "zero": integers(0),
        "eight": integers(8),
        "positions": np.array([[0, -1, 7, 3, 9, 2, 2, -8]], np.int64),
        "levels": np.array([0.5, 2.0], np.float32),
    }
    check_nodes(tmp_path, nodes, constants)


def numpy_value(number: float) -> onnx.TensorProto:
    from onnx import numpy_helper

    return numpy_helper.from_array(np.float32([number]))


def test_size(tmp_path: Path) -> None:
    """The batch's part of it cancels."""
    nodes = [
        node("Size", "x", "all"),
        node("Shape", "x", "s"),
        node("Gather", "s zero", "b", axis=0),
        node("Div", "all b", "n"),
        node("Cast", "n", "f", to=1),
        node("Div", "x f", "d"),
        node("Mul", "d f"),
    ]
    check_nodes(tmp_path, nodes, {"zero": np.int64(0)})


def test_a_reshape_that_mixes_images_is_refused(tmp_path: Path) -> None:
    nodes = [node("Transpose", "x", "t", perm=[1, 0, 2, 3]), node("Reshape", "t shape", "r"), node("Flatten", "r")]
    with pytest.raises((UnsupportedModel, UnsupportedOperator), match="Reshape"):
        convert_model(build_model(nodes, {"shape": integers(5, -1)}), tmp_path)
