"""OpenVINO's operators on single numbers: activations, arithmetic, comparisons, ranges of quantized values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from models.conversion.arithmetic import apply_binary
from models.conversion.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.conversion.openvino.operator import Operator

MODULES: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
    "Elu": lambda attributes: nn.ELU(attributes["alpha"]),
    "Gelu": lambda attributes: nn.GELU("tanh" if "tanh" in _mode(attributes) else "none"),
    "HSigmoid": lambda attributes: nn.Hardsigmoid(),
    "HSwish": lambda attributes: nn.Hardswish(),
    "LogSoftmax": lambda attributes: nn.LogSoftmax(attributes["axis"]),
    "Mish": lambda attributes: nn.Mish(),
    "Relu": lambda attributes: nn.ReLU(),
    "Sigmoid": lambda attributes: nn.Sigmoid(),
    "SoftPlus": lambda attributes: nn.Softplus(),
    "SoftSign": lambda attributes: nn.Softsign(),
    "Softmax": lambda attributes: nn.Softmax(attributes["axis"]),
    "Tanh": lambda attributes: nn.Tanh(),
}
"""Modules of one value, from the operator's attributes."""

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Ceiling": torch.ceil,
    "Cos": torch.cos,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Log": torch.log,
    "LogicalNot": torch.logical_not,
    "Negative": torch.neg,
    "Round": torch.round,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sqrt": torch.sqrt,
}
"""Functions of one value."""

BINARY: dict[str, Callable[..., Any]] = {
    "Add": torch.add,
    "Divide": torch.div,
    "Equal": torch.eq,
    "FloorMod": torch.remainder,
    "Greater": torch.gt,
    "GreaterEqual": torch.ge,
    "Less": torch.lt,
    "LessEqual": torch.le,
    "LogicalAnd": torch.logical_and,
    "LogicalOr": torch.logical_or,
    "Multiply": torch.mul,
    "NotEqual": torch.ne,
    "Power": torch.pow,
    "Subtract": torch.sub,
}
"""Functions of two values."""

RESIZING: dict[tuple[str, str], dict[str, Any]] = {
    ("linear", "align_corners"): {"mode": "bilinear", "align_corners": True},
    ("linear", "half_pixel"): {"mode": "bilinear", "align_corners": False},
    ("nearest", "asymmetric"): {"mode": "nearest"},
    ("nearest", "half_pixel"): {"mode": "nearest-exact"},
}
"""Torch's names of ways to resize, by OpenVINO's names of the mode and of the coordinates."""

TO_INTEGERS = ("i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64")


def _mode(attributes: dict[str, Any]) -> str:
    return str(attributes.get("approximation_mode", "")).lower()


def apply_module(operator: Operator) -> Value:
    """Apply a module without weights."""
    module = MODULES[operator.kind](operator.attributes)
    return operator.builder.module(module, operator.inputs[0], operator.path, type(module).__name__.lower())


def apply_function(operator: Operator) -> Value:
    """Apply a function of one value."""
    return operator.builder.call(FUNCTIONS[operator.kind], operator.inputs[0], path=operator.path)


def apply_two(operator: Operator) -> Value:
    """Apply a function of two values; of integers, division is rounded as OpenVINO does."""
    x, y = operator.inputs
    if operator.kind == "Divide" and not x.samples[0].is_floating_point() and not x.flows and not y.flows:
        return operator.builder.fold(torch.floor_divide, x, y)
    return apply_binary(operator.builder, BINARY[operator.kind], x, y, operator.path)


def clamp(operator: Operator) -> Value:
    """Limit values to a range: ReLU6 from 0 to 6."""
    return limit(operator, operator.inputs[0], operator.attributes["min"], operator.attributes["max"])


def limit(operator: Operator, x: Value, lowest: float, highest: float) -> Value:
    """Limit values to a range, of which either end may be infinite."""
    if (lowest, highest) == (0.0, 6.0):
        return operator.builder.module(nn.ReLU6(), x, operator.path, "relu6")
    if lowest == 0.0 and highest > 3e38:
        return operator.builder.module(nn.ReLU(), x, operator.path, "relu")
    if x.flows:
        bounds = [lowest if lowest > -3e38 else None, highest if highest < 3e38 else None]
        return operator.builder.call(torch.clamp, x, *bounds, path=operator.path)
    return operator.builder.fold(torch.clamp, x, lowest, highest)


def take_extreme(operator: Operator) -> Value:
    """Take the larger or the smaller of two values; beside a constant of one number, a limit."""
    is_maximum = operator.kind == "Maximum"
    x, y = operator.inputs if operator.inputs[0].flows else reversed(operator.inputs)
    if x.flows and y.is_constant and y.tensor.numel() == 1 and y.ndim <= x.ndim:
        number = float(y.tensor.item())
        return limit(operator, x, *((number, math.inf) if is_maximum else (-math.inf, number)))
    return operator.builder.call(torch.maximum if is_maximum else torch.minimum, x, y, path=operator.path)


def square_difference(operator: Operator) -> Value:
    """Square the difference of two values."""
    x, y = operator.inputs
    difference = apply_binary(operator.builder, torch.sub, x, y, operator.path)
    return operator.builder.call(torch.square, difference, path=operator.path)


def multiply_by_sigmoid(operator: Operator) -> Value:
    """Compute x · sigmoid(β x)."""
    x, *rest = operator.inputs
    beta = float(rest[0].tensor.item()) if rest else 1.0
    if beta == 1.0:
        return operator.builder.module(nn.SiLU(), x, operator.path, "silu")
    scaled = apply_binary(operator.builder, torch.mul, x, Value.constant(torch.tensor(beta)), operator.path)
    gate = operator.builder.module(nn.Sigmoid(), scaled, operator.path, "sigmoid")
    return operator.builder.call(torch.mul, x, gate, path=operator.path)


def apply_prelu(operator: Operator) -> Value:
    """Multiply negative values by a slope, which may be one for each channel."""
    x, slope = operator.inputs
    if slope.is_constant and slope.tensor.numel() == 1:
        return operator.builder.module(nn.LeakyReLU(float(slope.tensor.item())), x, operator.path, "leakyrelu")
    channels = [x.shape[1]] + [1] * (x.ndim - 2) if x.ndim > 1 else []
    is_by_channel = slope.is_constant and list(slope.shape) in (channels[:1], channels, [1, *channels])
    if not is_by_channel:
        negative = operator.builder.call(torch.clamp, x, None, 0.0, path=operator.path)
        positive = operator.builder.module(nn.ReLU(), x, operator.path, "relu")
        product = apply_binary(operator.builder, torch.mul, negative, slope, operator.path)
        return operator.builder.call(torch.add, positive, product, path=operator.path)
    vector = slope.tensor.float().reshape(-1)
    return operator.builder.module(nn.PReLU(len(vector), device="meta"), x, operator.path, "prelu", weight=vector)


def apply_selu(operator: Operator) -> Value:
    """Compute λ · (x if x > 0 else α · (e^x - 1)) (Klambauer et al., 2017)."""
    x, alpha, scale = operator.inputs
    raised = operator.builder.module(nn.ELU(float(alpha.tensor.item())), x, operator.path, "elu")
    return apply_binary(operator.builder, torch.mul, raised, scale, operator.path)


def apply_hard_sigmoid(operator: Operator) -> Value:
    """Compute α · x + β, limited to 0 … 1."""
    x, alpha, beta = operator.inputs
    scaled = apply_binary(operator.builder, torch.mul, x, alpha, operator.path)
    shifted = apply_binary(operator.builder, torch.add, scaled, beta, operator.path)
    return operator.builder.call(torch.clamp, shifted, 0.0, 1.0, path=operator.path)


def convert_type(operator: Operator) -> Value:
    """Convert a constant to floats or integers; the images stay floats."""
    x = operator.inputs[0]
    if x.flows:
        is_mask = not x.samples[0].is_floating_point()
        return operator.builder.call(torch.Tensor.float, x, path=operator.path) if is_mask else x
    kind = str(operator.attributes.get("destination_type", "f32"))
    dtype = torch.int64 if kind in TO_INTEGERS else torch.bool if kind == "boolean" else torch.float32
    return operator.builder.fold(torch.Tensor.to, x, dtype)


def choose(operator: Operator) -> Value:
    """Choose between two values by a condition."""
    return operator.builder.call(torch.where, *operator.inputs, path=operator.path)


def limit_to_range(operator: Operator) -> Value:
    """Limit values to the range of a quantized tensor, without rounding; constants are rounded."""
    x = operator.inputs[0]
    bounds = [value.tensor.float() for value in operator.inputs[1:] if value.is_constant]
    if len(bounds) != 4:
        raise operator.unsupported("has ranges that are computed")
    if not x.flows:
        levels = int(operator.attributes["levels"]) - 1
        return operator.builder.fold(lambda t: _quantize(t.float(), bounds, levels), x)
    in_low, in_high, out_low, out_high = bounds
    if max(bound.numel() for bound in bounds) > 1:
        raise operator.unsupported("quantizes activations by channel")
    limited = limit(operator, x, in_low.item(), in_high.item())
    if torch.equal(in_low, out_low) and torch.equal(in_high, out_high):
        return limited
    gain = (out_high - out_low) / (in_high - in_low)
    scaled = apply_binary(operator.builder, torch.mul, limited, Value.constant(gain), operator.path)
    return apply_binary(operator.builder, torch.add, scaled, Value.constant(out_low - in_low * gain), operator.path)


def _quantize(x: torch.Tensor, bounds: list[torch.Tensor], levels: int) -> torch.Tensor:
    """Round to the levels of a range, and map them to another."""
    in_low, in_high, out_low, out_high = bounds
    limited = torch.minimum(torch.maximum(x, in_low), in_high)
    step = torch.round((limited - in_low) / (in_high - in_low) * levels) / levels
    return step * (out_high - out_low) + out_low


def interpolate(operator: Operator) -> Value:
    """Resize height and width to fixed sizes."""
    attributes, x = operator.attributes, operator.inputs[0]
    sizes = operator.require_ints(1)
    scales = attributes.get("shape_calculation_mode", "sizes")
    axes = operator.axes(-1, x.ndim) if len(operator.inputs) > 2 else [2, 3]
    mode, coordinates = str(attributes["mode"]), str(attributes["coordinate_transformation_mode"])
    chosen = RESIZING.get((mode.removesuffix("_onnx"), coordinates))
    if scales != "sizes" or axes != [2, 3] or chosen is None or attributes.get("antialias"):
        raise operator.unsupported(f"resizes by {mode} with {coordinates}")
    return operator.builder.call(functional.interpolate, x, path=operator.path, size=sizes, **chosen)


ELEMENTWISE: dict[str, Callable[[Operator], Value]] = {
    **dict.fromkeys(MODULES, apply_module),
    **dict.fromkeys(FUNCTIONS, apply_function),
    **dict.fromkeys(BINARY, apply_two),
    "Clamp": clamp,
    "Convert": convert_type,
    "ConvertLike": convert_type,
    "FakeQuantize": limit_to_range,
    "HardSigmoid": apply_hard_sigmoid,
    "Interpolate": interpolate,
    "Maximum": take_extreme,
    "Minimum": take_extreme,
    "PRelu": apply_prelu,
    "Select": choose,
    "Selu": apply_selu,
    "SquaredDifference": square_difference,
    "Swish": multiply_by_sigmoid,
}
