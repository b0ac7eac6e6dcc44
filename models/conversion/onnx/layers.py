"""ONNX's layers with weights: convolutions, matrix products and normalizations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from models.conversion.arithmetic import apply_binary
from models.conversion.errors import UnsupportedModel, UnsupportedOperator
from models.conversion.layers import (
    apply_linear,
    convolve,
    get_constant,
    normalize_batch,
    normalize_groups,
    normalize_layer,
)
from models.conversion.padding import Sides, compute_same_padding
from models.conversion.values import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.conversion.graph_builder import GraphBuilder
    from models.conversion.onnx.operator import Converter, Operator


def read_padding(
    operator: Operator, sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Sides:
    """Read the padding of a convolution or pooling: auto_pad, or pads."""
    automatic = operator.get_text("auto_pad", "NOTSET")
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        return compute_same_padding(sizes, kernel, stride, dilation, is_upper=automatic == "SAME_UPPER")
    pads = operator.get_ints("pads") if automatic == "NOTSET" else None
    pads = pads or [0] * (2 * len(kernel))
    if len(pads) != 2 * len(kernel):
        raise UnsupportedOperator(f"It has {len(pads)} numbers of padding for {len(kernel)} axes.")
    return pads[: len(kernel)], pads[len(kernel) :]


def convert_convolution(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Conv."""
    return apply_convolution(builder, operator, operator.x, operator.require(1), operator.get(2))


def apply_convolution(builder: GraphBuilder, operator: Operator, x: Value, weight: Value, bias: Value | None) -> Value:
    """Convolve by an operator's attributes."""
    kernel = list(weight.shape[2:])
    stride = operator.get_ints("strides") or [1] * len(kernel)
    dilation = operator.get_ints("dilations") or [1] * len(kernel)
    padding = read_padding(operator, x.shape[2:], kernel, stride, dilation)
    return convolve(
        builder,
        x,
        weight,
        bias,
        operator.path,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=operator.get_int("group", 1),
    )


def multiply_matrices_with_bias(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Gemm, α·A·B + β·C."""
    x, weight, bias = operator.x, operator.require(1), operator.get(2)
    alpha, beta, path = operator.get_float("alpha", 1.0), operator.get_float("beta", 1.0), operator.path
    if operator.get_int("transA"):
        x = builder.call(torch.transpose, x, 0, 1, path=path)
    if operator.get_int("transB"):
        weight = builder.call(torch.transpose, weight, 0, 1, path=path)
    is_vector = bias is None or (bias.is_constant and bias.tensor.numel() in (1, weight.shape[1]) and _is_row(bias))
    if x.flows and weight.is_constant and is_vector:
        scaled = Value.constant(weight.tensor.float() * alpha)
        shift = None if bias is None else Value.constant(bias.tensor.float() * beta)
        return apply_linear(builder, x, scaled, shift, path)
    product = builder.call(torch.matmul, x, weight, path=path)
    if alpha != 1.0:
        product = builder.call(torch.mul, product, alpha, path=path)
    if bias is None:
        return product
    scaled_bias = bias if beta == 1.0 else builder.call(torch.mul, bias, beta, path=path)
    return apply_binary(builder, torch.add, product, scaled_bias, path)


def _is_row(bias: Value) -> bool:
    return bias.ndim < 2 or bias.shape[0] == 1


def multiply_matrices(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert MatMul: by a constant matrix it is a linear layer."""
    return apply_matmul(builder, operator.x, operator.require(1), operator.path)


def apply_matmul(builder: GraphBuilder, x: Value, y: Value, path: str) -> Value:
    """Multiply two matrices, or stacks of them."""
    if x.flows and y.is_constant and y.ndim > 2 and y.shape[:-2].numel() == 1 and y.ndim <= x.ndim:
        y = Value.constant(y.tensor.reshape(y.shape[-2:]))
    if x.flows and y.is_constant and y.ndim == 2 and x.ndim > 1:
        return apply_linear(builder, x, y, None, path)
    return builder.call(torch.matmul, x, y, path=path)


def contract(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Einsum."""
    values = [operator.require(index) for index in range(len(operator.inputs))]
    equation = operator.get_text("equation").replace(" ", "")
    return builder.call(torch.einsum, equation, *values, path=operator.path)


TRAINING = "Export the network in evaluation mode (model.eval()): this BatchNorm computes statistics of each batch."


def convert_batch_normalization(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert BatchNormalization in evaluation mode; in training mode only of weights, as those of NFNets are."""
    if operator.get_int("training_mode") and not operator.x.flows:
        return _standardize_weights(builder, operator)
    if operator.get_int("training_mode") or not operator.get_int("spatial", 1):
        raise UnsupportedModel(TRAINING)
    weight, bias, mean, variance = (operator.require(index) for index in range(1, 5))
    epsilon = operator.get_float("epsilon", 1e-5)
    return normalize_batch(builder, operator.x, weight, bias, mean, variance, operator.path, epsilon)


def _standardize_weights(builder: GraphBuilder, operator: Operator) -> Value:
    """Standardize weights by their own statistics (Qiao et al., 2019), as torch's exporter writes it."""
    epsilon = operator.get_float("epsilon", 1e-5)

    def standardize(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return functional.batch_norm(x, None, None, weight, bias, training=True, eps=epsilon)

    return builder.fold(standardize, operator.x, operator.require(1), operator.require(2))


def convert_layer_normalization(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert LayerNormalization; weights that do not cover the normalized axes are applied after it."""
    x, weight, bias = operator.x, operator.require(1), operator.get(2)
    axes = x.ndim - operator.get_int("axis", -1) % x.ndim
    epsilon = operator.get_float("epsilon", 1e-5)
    numel = x.shape[x.ndim - axes :].numel()
    if all(value is None or (value.is_constant and value.tensor.numel() == numel) for value in (weight, bias)):
        return normalize_layer(builder, x, weight, bias, operator.path, axes=axes, epsilon=epsilon)
    normal = normalize_layer(builder, x, None, None, operator.path, axes=axes, epsilon=epsilon)
    scaled = apply_binary(builder, torch.mul, normal, weight, operator.path)
    return scaled if bias is None else apply_binary(builder, torch.add, scaled, bias, operator.path)


def convert_instance_normalization(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert InstanceNormalization: a group for each channel."""
    return normalize_groups(
        builder,
        operator.x,
        operator.require(1),
        operator.require(2),
        operator.path,
        groups=operator.x.shape[1],
        epsilon=operator.get_float("epsilon", 1e-5),
    )


def convert_group_normalization(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert GroupNormalization, whose weights belong to groups before version 21 and to channels from then on."""
    groups, channels = operator.get_int("num_groups"), operator.x.shape[1]
    weights = [get_constant(operator.require(index)) for index in (1, 2)]
    if operator.opset < 21:
        weights = [weight.repeat_interleave(channels // groups) for weight in weights]
    weight, bias = (Value.constant(weight) for weight in weights)
    return normalize_groups(
        builder, operator.x, weight, bias, operator.path, groups=groups, epsilon=operator.get_float("epsilon", 1e-5)
    )


def convert_rms_normalization(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert RMSNormalization."""
    x, weight = operator.x, get_constant(operator.require(1))
    shape = x.shape[operator.get_int("axis", -1) % x.ndim :]
    layer = nn.RMSNorm(tuple(shape), eps=operator.get_float("epsilon", 1e-5), device="meta")
    return builder.module(layer, x, operator.path, "norm", weight=weight.expand(shape).contiguous())


def convert_local_response_normalization(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert LRN, of an odd number of channels: torch centres an even number otherwise."""
    size = operator.get_int("size", 1)
    if size % 2 == 0:
        raise UnsupportedOperator("LRN of an even number of channels.")
    alpha, beta, bias = (
        operator.get_float("alpha", 1e-4),
        operator.get_float("beta", 0.75),
        operator.get_float("bias", 1.0),
    )
    return builder.module(nn.LocalResponseNorm(size, alpha, beta, bias), operator.x, operator.path, "lrn")


def normalize_length(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert LpNormalization, x / ‖x‖."""
    order, axis = operator.get_int("p", 2), operator.get_int("axis", -1)
    length = builder.call(torch.linalg.vector_norm, operator.x, order, [axis], True, path=operator.path)
    return builder.call(torch.div, operator.x, length, path=operator.path)


OPERATORS: dict[str, Converter] = {
    "BatchNormalization": convert_batch_normalization,
    "Conv": convert_convolution,
    "Einsum": contract,
    "Gemm": multiply_matrices_with_bias,
    "GroupNormalization": convert_group_normalization,
    "InstanceNormalization": convert_instance_normalization,
    "LRN": convert_local_response_normalization,
    "LayerNormalization": convert_layer_normalization,
    "LpNormalization": normalize_length,
    "MatMul": multiply_matrices,
    "RMSNormalization": convert_rms_normalization,
}
