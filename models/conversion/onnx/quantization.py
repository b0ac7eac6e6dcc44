"""ONNX's quantized operators, dequantized: weights become floats, and ranges of activations stay as clamps.

A value that flows holds the real numbers that its integers stand for. Rounding is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from models.conversion.errors import UnsupportedOperator
from models.conversion.graph_builder import RANGE
from models.conversion.onnx.layers import apply_convolution, apply_matmul
from models.conversion.values import Value

if TYPE_CHECKING:
    from models.conversion.graph_builder import GraphBuilder
    from models.conversion.onnx.operator import Converter, Operator

LIMITS = {torch.uint8: (0, 255), torch.int8: (-128, 127), torch.int16: (-32768, 32767), torch.int64: (0, 65535)}
"""Smallest and largest number of each type."""
ROUNDING = "The network is quantized: weights are dequantized, ranges are kept, and the rounding of values is left out."


def quantize(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert QuantizeLinear: a clamp to the range that the integers stand for."""
    x, scale, zero = operator.x, operator.require(1), operator.get(2)
    dtype = torch.uint8 if zero is None else zero.samples[0].dtype
    if not x.flows:
        return _quantize_constant(builder, operator, dtype)
    builder.note(ROUNDING)
    return clamp_to_range(builder, x, scale, zero, operator.path)


def clamp_to_range(builder: GraphBuilder, x: Value, scale: Value, zero: Value | None, path: str) -> Value:
    """Clamp a value to what its quantization can express: (smallest - zero)·scale to (largest - zero)·scale."""
    dtype = torch.uint8 if zero is None else zero.samples[0].dtype
    if dtype not in LIMITS or not scale.is_constant or scale.tensor.numel() != 1 or (zero and not zero.is_constant):
        raise UnsupportedOperator("A quantization of values by other than one constant scale and zero point.")
    low, high = LIMITS[dtype]
    factor, shift = float(scale.tensor.item()), 0.0 if zero is None else float(zero.tensor.item())
    clamped = builder.call(torch.clamp, x, (low - shift) * factor, (high - shift) * factor, path=path, name="range")
    assert clamped.node is not None
    clamped.node.meta[RANGE] = (factor, shift)  # the scale and zero point of what it gives
    return clamped


def _quantize_constant(builder: GraphBuilder, operator: Operator, dtype: torch.dtype) -> Value:
    x, scale, zero = operator.x, operator.require(1), operator.get(2) or Value.constant(torch.zeros(()))
    if dtype not in LIMITS:
        raise UnsupportedOperator(f"A quantization to {str(dtype).removeprefix('torch.')}.")
    low, high = LIMITS[dtype]
    axis = operator.get_int("axis", 1)

    def compute(x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
        along = align(scale, x, axis), align(zero.float(), x, axis)
        return torch.clamp(torch.round(x.float() / along[0]) + along[1], low, high).to(dtype)

    return builder.fold(compute, x, scale, zero)


def dequantize(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert DequantizeLinear."""
    x, scale, zero = operator.x, operator.require(1), operator.get(2)
    if operator.get_int("block_size"):
        raise UnsupportedOperator("A quantization by blocks.")
    if not x.flows:
        return dequantize_constant(builder, x, scale, zero, operator.get_int("axis", 1))
    return dequantize_flowing(builder, x, scale, zero, operator.path)


def dequantize_flowing(builder: GraphBuilder, x: Value, scale: Value, zero: Value | None, path: str) -> Value:
    """Dequantize a value: images of integers become (x - zero)·scale, other values hold real numbers already."""
    builder.note(ROUNDING)
    if not scale.is_constant or scale.tensor.numel() != 1:
        raise UnsupportedOperator("A quantization of values by other than one constant scale and zero point.")
    factor, shift = float(scale.tensor.item()), 0.0 if zero is None else float(zero.tensor.item())
    assert x.node is not None
    earlier_factor, earlier_shift = x.node.meta.get(RANGE, (factor, shift))
    if is_image(builder, x.node):
        earlier_factor, earlier_shift = 1.0, 0.0
    if (earlier_factor, earlier_shift) == (factor, shift):
        return x
    gain, offset = factor / earlier_factor, (earlier_shift - shift) * factor
    scaled = builder.call(torch.mul, x, gain, path=path)
    return builder.call(torch.add, scaled, offset, path=path) if offset else scaled


def is_image(builder: GraphBuilder, node: torch.fx.Node) -> bool:
    """Tell whether a node is the network's input, in whatever order of axes."""
    while node.target is torch.permute:
        node = node.all_input_nodes[0]
    return node is builder.images.node


def dequantize_constant(builder: GraphBuilder, x: Value, scale: Value, zero: Value | None, axis: int) -> Value:
    """Compute the real numbers of quantized weights."""
    zero = Value.constant(torch.zeros(())) if zero is None else zero

    def compute(x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
        return (x.float() - align(zero.float(), x, axis)) * align(scale.float(), x, axis)

    return builder.fold(compute, x, scale, zero)


def align(vector: torch.Tensor, x: torch.Tensor, axis: int) -> torch.Tensor:
    """Align numbers for each element of an axis with that axis."""
    if vector.numel() == 1:
        return vector.reshape(())
    shape = [1] * x.ndim
    shape[axis] = -1
    return vector.reshape(shape)


def convert_quantized_convolution(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert QLinearConv: inputs x, its scale and zero, weight, its scale and zero, y's scale and zero, bias."""
    builder.note(ROUNDING)
    x_scale, weight_scale = operator.require(1), operator.require(4)
    weight = dequantize_constant(builder, operator.require(3), weight_scale, operator.get(5), 0)
    bias = operator.get(8)
    if bias is not None:
        scales = builder.fold(torch.mul, x_scale, weight_scale)
        bias = dequantize_constant(builder, bias, scales, None, 0)
    x = dequantize_flowing(builder, operator.x, x_scale, operator.get(2), operator.path)
    y = apply_convolution(builder, operator, x, weight, bias)
    return clamp_to_range(builder, y, operator.require(6), operator.get(7), operator.path)


def convert_quantized_matmul(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert QLinearMatMul: inputs a, its scale and zero, b, its scale and zero, y's scale and zero."""
    builder.note(ROUNDING)
    a = dequantize_flowing(builder, operator.x, operator.require(1), operator.get(2), operator.path)
    b = operator.require(3)
    if not b.flows:
        b = dequantize_constant(builder, b, operator.require(4), operator.get(5), b.ndim - 1)
    y = apply_matmul(builder, a, b, operator.path)
    return clamp_to_range(builder, y, operator.require(6), operator.get(7), operator.path)


def quantize_dynamically(builder: GraphBuilder, operator: Operator) -> list[Value]:
    """Convert DynamicQuantizeLinear: the value itself, with a scale of 1 and a zero point of 0."""
    builder.note(ROUNDING)
    one, zero = Value.constant(torch.ones(())), Value.constant(torch.zeros((), dtype=torch.uint8))
    return [operator.x, one, zero]


def _read_integers(builder: GraphBuilder, operator: Operator, axis: int) -> Value:
    """Read the weights of an operator of integers, less their zero point."""
    one = Value.constant(torch.ones(()))
    return dequantize_constant(builder, operator.require(1), one, operator.get(3), axis)


def multiply_integers(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert MatMulInteger, of a value that was quantized dynamically."""
    weight = _read_integers(builder, operator, operator.require(1).ndim - 1)
    return apply_matmul(builder, operator.x, weight, operator.path)


def convolve_integers(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert ConvInteger, of a value that was quantized dynamically."""
    return apply_convolution(builder, operator, operator.x, _read_integers(builder, operator, 0), None)


OPERATORS: dict[str, Converter] = {
    "ConvInteger": convolve_integers,
    "DequantizeLinear": dequantize,
    "DynamicQuantizeLinear": quantize_dynamically,
    "MatMulInteger": multiply_integers,
    "QLinearConv": convert_quantized_convolution,
    "QLinearMatMul": convert_quantized_matmul,
    "QuantizeLinear": quantize,
}
