"""Layers with weights, of each version and with random attributes, against onnxruntime."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from models.conversion.errors import UnsupportedModel, UnsupportedOperator
from tests.support.onnx_models import build_model, check_nodes, convert_model, integers, node, numbers, over_versions

if TYPE_CHECKING:
    from pathlib import Path


def draw_convolution(seed: int) -> tuple[dict[str, Any], list[int]]:
    """Draw the attributes of a convolution, and the shape of its weight."""
    random_numbers = random.Random(seed)
    kernel = [random_numbers.randint(1, 4) for _ in range(2)]
    attributes: dict[str, Any] = {"strides": [random_numbers.randint(1, 3) for _ in range(2)]}
    attributes["dilations"] = [random_numbers.randint(1, 2) for _ in range(2)]
    group = random_numbers.choice([1, 3])
    attributes["group"] = group
    padding = random_numbers.choice(["pads", "SAME_UPPER", "SAME_LOWER", "VALID", None])
    if padding == "pads":
        attributes["pads"] = [random_numbers.randint(0, 3) for _ in range(4)]
    elif padding:
        attributes["auto_pad"] = padding
    if padding in ("SAME_UPPER", "SAME_LOWER"):
        attributes["dilations"] = [1, 1]  # onnxruntime computes SAME with dilation as it was defined before
    return attributes, [6, 3 // group, *kernel]


@pytest.mark.parametrize("seed", [*range(24), *(pytest.param(n, marks=pytest.mark.extended) for n in range(24, 300))])
def test_convolution_with_random_attributes(seed: int, tmp_path: Path) -> None:
    attributes, shape = draw_convolution(seed)
    bias = {"b": numbers(6, seed=3)} if seed % 2 else {}
    nodes = [node("Conv", f"x w {'b' if bias else ''}".strip(), **attributes)]
    check_nodes(tmp_path, nodes, {"w": numbers(*shape, seed=2), **bias}, images=("N", 3, 11, 9))


@pytest.mark.parametrize(("kind", "opset"), over_versions("Conv"))
def test_convolution_is_a_module_with_bias(kind: str, opset: int, tmp_path: Path) -> None:
    nodes = [node(kind, "x w", kernel_shape=[3, 3], pads=[1, 1, 1, 1])]
    converted = check_nodes(tmp_path, nodes, {"w": numbers(4, 3, 3, 3)}, opset=opset, is_static_too=True)
    (layer,) = [module for module in converted.network.modules() if isinstance(module, nn.Conv2d)]
    assert layer.bias is not None
    assert layer.padding == (1, 1)
    assert all(isinstance(value, nn.Parameter) for value in (layer.weight, layer.bias))


def test_convolution_along_channels(tmp_path: Path) -> None:
    """Efficient channel attention convolves the channels' averages."""
    nodes = [
        node("GlobalAveragePool", "x", "p"),
        node("Reshape", "p shape", "row"),
        node("Conv", "row w", "c", kernel_shape=[3], pads=[1, 1]),
        node("Reshape", "c back", "gate"),
        node("Mul", "x gate"),
    ]
    constants = {"shape": integers(0, 1, 3), "back": integers(0, 3, 1, 1), "w": numbers(1, 1, 3)}
    check_nodes(tmp_path, nodes, constants)


def test_a_weight_may_be_a_constant_or_computed_from_constants(tmp_path: Path) -> None:
    weight = torch.from_numpy(numbers(4, 3, 1, 1)).numpy()
    constant = node("Constant", "", "w0", value_floats=weight.ravel().tolist())
    nodes = [constant, node("Reshape", "w0 shape", "w1"), node("Mul", "w1 two", "w"), node("Conv", "x w")]
    check_nodes(tmp_path, nodes, {"shape": integers(4, 3, 1, 1), "two": np.float32(2)})


def test_a_weight_computed_from_the_image_is_refused(tmp_path: Path) -> None:
    nodes = [node("GlobalAveragePool", "x", "w"), node("Conv", "x w", "c"), node("Flatten", "c")]
    with pytest.raises(UnsupportedOperator, match=r"Conv \('c'\).*computed from the image"):
        convert_model(build_model(nodes), tmp_path)


@pytest.mark.parametrize("pads", [[0, 1, 1, 0, 1, 1], [1, 0, 2, 0, 1, 1]], ids=str)
def test_a_convolution_on_three_axes(pads: list[int], tmp_path: Path) -> None:
    """The channels of the values are an axis that the kernel leaves alone, as in lambda layers."""
    nodes = [node("Unsqueeze", "x one", "v"), node("Conv", "v w b", pads=pads, strides=[1, 2, 1])]
    constants = {"one": integers(1), "w": numbers(4, 1, 1, 3, 3), "b": numbers(4, seed=2)}
    check_nodes(tmp_path, nodes, constants, is_static_too=True)


def test_a_convolution_on_four_axes_is_refused(tmp_path: Path) -> None:
    nodes = [node("Unsqueeze", "x ones", "v"), node("Conv", "v w", "c"), node("Flatten", "c")]
    with pytest.raises(UnsupportedOperator, match="4 axes"):
        convert_model(build_model(nodes, {"ones": integers(1, 2), "w": numbers(2, 1, 1, 1, 1, 1)}), tmp_path)


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", [None, (5,), (1, 5), (1,), ()], ids=str)
def test_gemm(bias: tuple[int, ...] | None, transposed: int, tmp_path: Path) -> None:
    """α·A·B + β·C is a linear layer where B and C are constants."""
    constants = {"w": numbers(5, 192) if transposed else numbers(192, 5)}
    if bias is not None:
        constants["c"] = numbers(*bias, seed=4)
    inputs = "flat w" + (" c" if bias is not None else "")
    nodes = [node("Flatten", "x", "flat"), node("Gemm", inputs, alpha=0.5, beta=2.0, transB=transposed)]
    for opset in (9 if bias is not None else 11, 23):
        converted = check_nodes(tmp_path, nodes, constants, opset=opset, is_static_too=True)
        assert isinstance(converted.network.get_classifier(), nn.Linear)


def test_gemm_of_two_values(tmp_path: Path) -> None:
    nodes = [
        node("Flatten", "x", "flat"),
        node("Gemm", "flat w", "a", transB=1),
        node("Gemm", "a v d", beta=0.5),
    ]
    check_nodes(tmp_path, nodes, {"w": numbers(3, 192), "v": numbers(3, 3), "d": numbers(1, 3)})


def test_a_matrix_product_with_an_addition_is_one_linear_layer(tmp_path: Path) -> None:
    """Also where the number of channels equals the number of tokens, and with the bias first."""
    for order in ("m b", "b m"):
        nodes = [
            node("Reshape", "x shape", "tokens"),
            node("MatMul", "tokens w", "m"),
            node("Add", order, "a"),
            node("ReduceMean", "a", axes=[1], keepdims=0),
        ]
        constants = {"shape": integers(0, 8, 24), "w": numbers(24, 8), "b": numbers(8)}
        converted = check_nodes(tmp_path, nodes, constants)
        classifier = converted.network.get_classifier()
        assert isinstance(classifier, nn.Linear)
        np.testing.assert_array_equal(classifier.bias.detach().numpy(), constants["b"])


def test_an_addition_that_is_no_bias_stays(tmp_path: Path) -> None:
    """Positional embeddings have as many numbers as no layer has outputs, or are not along its outputs."""
    for shape in ((8, 8), (8, 1), (1, 8, 8)):
        nodes = [node("Reshape", "x shape", "tokens"), node("MatMul", "tokens w", "m"), node("Add", "m p")]
        constants = {"shape": integers(0, 8, 24), "w": numbers(24, 8), "p": numbers(*shape)}
        check_nodes(tmp_path, nodes, constants)


@pytest.mark.parametrize("shape", [(8, 5), (1, 8, 5), (3, 8, 5), (1, 1, 8, 5)], ids=str)
def test_matmul_by_a_constant(shape: tuple[int, ...], tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("MatMul", "x w")], {"w": numbers(*shape)}, is_static_too=True)


def test_matmul_of_a_constant_and_of_values(tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("MatMul", "w x")], {"w": numbers(5, 8)})
    check_nodes(tmp_path, [node("Transpose", "x", "t", perm=[0, 1, 3, 2]), node("MatMul", "x t")])


@pytest.mark.parametrize("equation", ["bchw,bcvw->bchv", "bchw, bcvw -> bhv", "...hw,...vw->...hv"])
def test_einsum(equation: str, tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("Exp", "x", "e"), node("Einsum", "x e", equation=equation)])


def test_einsum_with_a_constant(tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("Einsum", "x w", equation="bchw,dc->bdhw")], {"w": numbers(5, 3)})


STATISTICS = {
    "s": numbers(3, low=0.5, high=2),
    "b": numbers(3),
    "m": numbers(3, seed=5),
    "v": numbers(3, low=0.1, high=3),
}


@pytest.mark.parametrize(("kind", "opset"), over_versions("BatchNormalization"))
def test_batch_normalization(kind: str, opset: int, tmp_path: Path) -> None:
    converted = check_nodes(tmp_path, [node(kind, "x s b m v", epsilon=1e-2)], STATISTICS, opset=opset)
    assert any(isinstance(module, nn.BatchNorm2d) for module in converted.network.modules())


def test_batch_normalization_of_vectors(tmp_path: Path) -> None:
    nodes = [node("GlobalMaxPool", "x", "p"), node("Flatten", "p", "f"), node("BatchNormalization", "f s b m v")]
    check_nodes(tmp_path, nodes, STATISTICS)


def test_batch_normalization_in_training_mode_is_refused(tmp_path: Path) -> None:
    nodes = [node("BatchNormalization", "x s b m v", "n mean var", training_mode=1), node("Flatten", "n")]
    with pytest.raises(UnsupportedModel, match=r"evaluation mode \(model.eval\(\)\)"):
        convert_model(build_model(nodes, STATISTICS), tmp_path)


def test_weights_that_are_standardized_by_batch_normalization_are_folded(tmp_path: Path) -> None:
    """Standardized convolutions of NFNets, as torch's older exporter writes them."""
    nodes = [
        node("Reshape", "kernel rows", "flat"),
        node("BatchNormalization", "flat s b m v", "n mean var", training_mode=1, epsilon=1e-3),
        node("Reshape", "n shape", "weight"),
        node("Conv", "x weight"),
    ]
    kernel = {"kernel": numbers(5, 3, 3, 3), "rows": integers(1, 5, 27), "shape": integers(5, 3, 3, 3)}
    check_nodes(tmp_path, nodes, kernel | {name: numbers(5, low=0.5, high=2.0, seed=2) for name in "sbmv"})


@pytest.mark.parametrize("axis", [-1, 3, 2, 1])
def test_layer_normalization(axis: int, tmp_path: Path) -> None:
    shape = (3, 8, 8)[axis - 1 if axis > 0 else 2 :]
    constants = {"s": numbers(*shape, low=0.5, high=2), "b": numbers(*shape)}
    check_nodes(tmp_path, [node("LayerNormalization", "x s b", axis=axis, epsilon=1e-2)], constants)
    check_nodes(tmp_path, [node("LayerNormalization", "x s", axis=axis)], constants)


def test_layer_normalization_with_weights_that_are_broadcast(tmp_path: Path) -> None:
    constants = {"s": numbers(8, low=0.5, high=2), "b": numbers(1, 8)}
    check_nodes(tmp_path, [node("LayerNormalization", "x s b", axis=2)], constants)


def test_instance_normalization(tmp_path: Path) -> None:
    for opset in (9, 23):
        check_nodes(tmp_path, [node("InstanceNormalization", "x s b", epsilon=1e-3)], STATISTICS, opset=opset)
    nodes = [node("Reshape", "x shape", "r"), node("InstanceNormalization", "r s b")]
    check_nodes(tmp_path, nodes, {**STATISTICS, "shape": integers(0, 3, -1)}, is_static_too=True)


@pytest.mark.parametrize("opset", [18, 21, 23])
def test_group_normalization(opset: int, tmp_path: Path) -> None:
    """Its weights belong to groups in version 18, and to channels from 21 on."""
    count = 2 if opset == 18 else 6
    constants = {"w": numbers(6, 3, 1, 1), "s": numbers(count, low=0.5, high=2), "b": numbers(count)}
    nodes = [node("Conv", "x w", "c"), node("GroupNormalization", "c s b", num_groups=2, epsilon=1e-3)]
    check_nodes(tmp_path, nodes, constants, opset=opset)


def test_rms_normalization(tmp_path: Path) -> None:
    for axis, shape in ((-1, (8,)), (2, (8, 8))):
        check_nodes(tmp_path, [node("RMSNormalization", "x s", axis=axis)], {"s": numbers(*shape)}, opset=23)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response_normalization(size: int, tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c"), node("LRN", "c", size=size, alpha=0.5, beta=0.6, bias=1.5)]
    check_nodes(tmp_path, nodes, {"w": numbers(7, 3, 1, 1, high=3.0)})


@pytest.mark.parametrize(("p", "axis"), [(2, -1), (1, 1), (2, 1)])
def test_lp_normalization(p: int, axis: int, tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("LpNormalization", "x", p=p, axis=axis)])
