"""OpenVINO's operators with weights or windows as torch's modules: convolutions, products, normalizations, pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from models.conversion.arithmetic import apply_binary
from models.conversion.layers import apply_linear, convolve, get_bias, get_constant, normalize_batch
from models.conversion.padding import Sides, compute_same_padding
from models.conversion.pooling import pair, pool_average, pool_max
from models.conversion.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.conversion.openvino.operator import Operator


def apply_convolution(operator: Operator) -> Value:
    """Convolve by weights (C_out, C_in, …)."""
    return _convolve(operator, get_constant(operator.inputs[1]), 1)


def apply_group_convolution(operator: Operator) -> Value:
    """Convolve by weights (groups, C_out / groups, C_in / groups, …)."""
    kernel = get_constant(operator.inputs[1])
    return _convolve(operator, kernel.reshape(-1, *kernel.shape[2:]), kernel.shape[0])


def _convolve(operator: Operator, kernel: torch.Tensor, groups: int) -> Value:
    stride, dilation = list(operator.attributes["strides"]), list(operator.attributes["dilations"])
    return convolve(
        operator.builder,
        operator.inputs[0],
        Value.constant(kernel),
        None,
        operator.path,
        stride=stride,
        padding=_find_padding(operator, kernel.shape[2:], stride, dilation),
        dilation=dilation,
        groups=groups,
    )


def _find_padding(operator: Operator, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Sides:
    """Find the padding before and after each spatial axis."""
    pads = operator.pads()
    if pads is not None:
        return pads
    is_upper = str(operator.attributes["auto_pad"]).lower() == "same_upper"
    return compute_same_padding(operator.inputs[0].shape[2:], kernel, stride, dilation, is_upper)


def apply_transposed_convolution(operator: Operator) -> Value:
    """Convolve by the transpose of weights (C_in, C_out, …)."""
    return _convolve_transposed(operator, get_constant(operator.inputs[1]), 1)


def apply_grouped_transposed_convolution(operator: Operator) -> Value:
    """Convolve by the transpose of weights (groups, C_in / groups, C_out / groups, …)."""
    kernel = get_constant(operator.inputs[1])
    return _convolve_transposed(operator, kernel.reshape(-1, *kernel.shape[2:]), kernel.shape[0])


def _convolve_transposed(operator: Operator, kernel: torch.Tensor, groups: int) -> Value:
    attributes = operator.attributes
    pads = operator.pads()
    if pads is None or pads[0] != pads[1]:
        raise operator.unsupported("pads each side by another number")
    if kernel.ndim != 4:
        raise operator.unsupported("has other than two spatial axes")
    layer = nn.ConvTranspose2d(
        kernel.shape[0],
        kernel.shape[1] * groups,
        pair(kernel.shape[2:]),
        pair(attributes["strides"]),
        pair(pads[0]),
        pair(attributes["output_padding"]),
        groups,
        dilation=pair(attributes["dilations"]),
        device="meta",
    )
    bias = get_bias(None, kernel.shape[1] * groups)
    return operator.builder.module(layer, operator.inputs[0], operator.path, "conv", weight=kernel, bias=bias)


def multiply_matrices(operator: Operator) -> Value:
    """Multiply two matrices; by a constant one, a linear layer."""
    x, y = operator.inputs
    builder, path = operator.builder, operator.path
    transposes = [operator.attributes["transpose_a"], operator.attributes["transpose_b"]]
    if y.is_constant and y.ndim == 2 and x.flows and not transposes[0]:
        matrix = builder.fold(torch.t, y) if transposes[1] else y
        return apply_linear(builder, x, matrix, None, path)
    values = [
        _transpose(operator, value) if is_transposed and value.ndim > 1 else value
        for value, is_transposed in zip((x, y), transposes, strict=True)
    ]
    return builder.call(torch.matmul, *values, path=path)


def apply_batch_norm(operator: Operator) -> Value:
    """Normalize channels by constant statistics."""
    x, weight, bias, mean, variance = operator.inputs
    return normalize_batch(
        operator.builder, x, weight, bias, mean, variance, operator.path, operator.attributes["epsilon"]
    )


def normalize_variance(operator: Operator) -> Value:
    """Normalize over the last axes by their own mean and variance, as LayerNorm without weights does."""
    x = operator.inputs[0]
    axes = sorted(operator.axes(1, x.ndim))
    is_inside = str(operator.attributes["eps_mode"]).lower().endswith("inside_sqrt")
    if axes != list(range(axes[0], x.ndim)) or not operator.attributes["normalize_variance"] or not is_inside:
        raise operator.unsupported(f"normalizes the axes {axes} of {x.ndim}, or without their variance")
    shape = tuple(x.shape[axes[0] :])
    layer = nn.LayerNorm(shape, eps=operator.attributes["eps"], device="meta")
    return operator.builder.module(layer, x, operator.path, "norm", weight=torch.ones(shape), bias=torch.zeros(shape))


def apply_max_pool(operator: Operator) -> Value:
    """Take the maximum of each window."""
    kernel, stride, is_rounded_up = _read_window(operator)
    dilation = list(operator.attributes.get("dilations", [1] * len(kernel)))
    return pool_max(
        operator.builder,
        operator.inputs[0],
        operator.path,
        kernel=kernel,
        stride=stride,
        padding=_find_padding(operator, kernel, stride, dilation),
        dilation=dilation,
        is_rounded_up=is_rounded_up,
    )


def apply_average_pool(operator: Operator) -> Value:
    """Average each window."""
    kernel, stride, is_rounded_up = _read_window(operator)
    return pool_average(
        operator.builder,
        operator.inputs[0],
        operator.path,
        kernel=kernel,
        stride=stride,
        padding=_find_padding(operator, kernel, stride, [1] * len(kernel)),
        is_rounded_up=is_rounded_up,
        counts_padding=not operator.attributes["exclude-pad"],
    )


def _read_window(operator: Operator) -> tuple[list[int], list[int], bool]:
    """Get a window's size and stride, and whether the number of windows is rounded up."""
    attributes = operator.attributes
    is_rounded_up = "ceil" in str(attributes.get("rounding_type", "floor")).lower()
    return list(attributes["kernel"]), list(attributes["strides"]), is_rounded_up


def normalize_responses(operator: Operator) -> Value:
    """Divide by the squares of neighbouring channels (Krizhevsky et al., 2012)."""
    attributes = operator.attributes
    if operator.axes(1, operator.inputs[0].ndim) != [1]:
        raise operator.unsupported("normalizes other axes than the channels")
    layer = nn.LocalResponseNorm(attributes["size"], attributes["alpha"], attributes["beta"], attributes["bias"])
    return operator.builder.module(layer, operator.inputs[0], operator.path, "norm")


def attend(operator: Operator) -> Value:
    """Compute softmax(q·k / √d)·v (Vaswani et al., 2017)."""
    query, key, value, *rest = operator.inputs
    if operator.attributes.get("causal") or (rest and not rest[0].is_constant):
        raise operator.unsupported("masks what the image decides")
    scale = float(rest[1].tensor.item()) if len(rest) > 1 else None
    if rest and rest[0].tensor.any():
        scores = operator.builder.call(torch.matmul, query, _transpose(operator, key), path=operator.path)
        scale = scale or query.shape[-1] ** -0.5
        scores = apply_binary(operator.builder, torch.mul, scores, Value.constant(torch.tensor(scale)), operator.path)
        scores = apply_binary(operator.builder, torch.add, scores, rest[0], operator.path)
        weights = operator.builder.module(nn.Softmax(-1), scores, operator.path, "softmax")
        return operator.builder.call(torch.matmul, weights, value, path=operator.path)
    attention = functional.scaled_dot_product_attention
    return operator.builder.call(attention, query, key, value, path=operator.path, name="attention", scale=scale)


def _transpose(operator: Operator, value: Value) -> Value:
    """Exchange the last two axes."""
    return operator.builder.call(torch.transpose, value, -1, -2, path=operator.path)


LAYERS: dict[str, Callable[[Operator], Value]] = {
    "AvgPool": apply_average_pool,
    "BatchNormInference": apply_batch_norm,
    "Convolution": apply_convolution,
    "ConvolutionBackpropData": apply_transposed_convolution,
    "GroupConvolution": apply_group_convolution,
    "GroupConvolutionBackpropData": apply_grouped_transposed_convolution,
    "LRN": normalize_responses,
    "MVN": normalize_variance,
    "MatMul": multiply_matrices,
    "MaxPool": apply_max_pool,
    "ScaledDotProductAttention": attend,
}
