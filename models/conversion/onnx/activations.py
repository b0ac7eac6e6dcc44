"""ONNX's activations, and its softmax of each version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from models.conversion.arithmetic import apply_binary
from models.conversion.errors import UnsupportedOperator
from models.conversion.layers import get_constant
from models.conversion.onnx.operator import shape_value
from models.conversion.shapes import reshape

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.conversion.graph_builder import GraphBuilder
    from models.conversion.onnx.operator import Converter, Operator
    from models.conversion.values import Value


def activation(make: Callable[[Operator], nn.Module]) -> Converter:
    """Convert an operator into a module without weights."""

    def convert(builder: GraphBuilder, operator: Operator) -> Value:
        return builder.module(make(operator), operator.x, operator.path, operator.kind)

    return convert


def apply_hard_sigmoid(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert HardSigmoid, max(0, min(1, α·x + β)); torch's own has α = 1/6 and β = 1/2."""
    alpha, beta = operator.get_float("alpha", 0.2), operator.get_float("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return builder.module(nn.Hardsigmoid(), operator.x, operator.path, "hardsigmoid")
    scaled = builder.call(torch.mul, operator.x, alpha, path=operator.path)
    return builder.call(
        torch.clamp, builder.call(torch.add, scaled, beta, path=operator.path), 0.0, 1.0, path=operator.path
    )


def apply_prelu(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert PRelu, with one slope or one for each channel."""
    x, slope = operator.x, get_constant(operator.require(1))
    per_channel = [1] * (x.ndim - 1)
    if x.ndim > 1:
        per_channel[0] = x.shape[1]
    shape = list(slope.shape)
    while len(shape) > x.ndim - 1 and shape[0] == 1:
        shape = shape[1:]
    if slope.numel() == 1 or shape == per_channel:
        return builder.module(
            nn.PReLU(slope.numel(), device="meta"), x, operator.path, "prelu", weight=slope.reshape(-1)
        )
    positive = builder.call(torch.clamp, x, 0.0, None, path=operator.path)
    negative = builder.call(torch.clamp, x, None, 0.0, path=operator.path)
    scaled = apply_binary(builder, torch.mul, negative, operator.require(1), operator.path)
    return builder.call(torch.add, positive, scaled, path=operator.path)


def apply_elu(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Elu and Celu."""
    alpha = operator.get_float("alpha", 1.0)
    layer = nn.ELU(alpha) if operator.kind == "Elu" else nn.CELU(alpha)
    return builder.module(layer, operator.x, operator.path, operator.kind)


def apply_selu(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Selu with the constants of Klambauer et al., 2017, which torch has."""
    alpha, gamma = operator.get_float("alpha", 1.67326), operator.get_float("gamma", 1.0507)
    if abs(alpha - 1.67326) > 1e-4 or abs(gamma - 1.0507) > 1e-4:
        raise UnsupportedOperator(f"Selu with α = {alpha} and γ = {gamma}.")
    return builder.module(nn.SELU(), operator.x, operator.path, "selu")


def apply_swish(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Swish, x·σ(α·x)."""
    alpha = operator.get_float("alpha", 1.0)
    if alpha == 1.0:
        return builder.module(nn.SiLU(), operator.x, operator.path, "silu")
    gate = builder.call(
        torch.sigmoid, builder.call(torch.mul, operator.x, alpha, path=operator.path), path=operator.path
    )
    return builder.call(torch.mul, operator.x, gate, path=operator.path)


def apply_softmax(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Softmax and LogSoftmax; before version 13 they see all axes from theirs on as one."""
    x = operator.x
    make = nn.Softmax if operator.kind == "Softmax" else nn.LogSoftmax
    if operator.opset >= 13:
        return builder.module(make(operator.get_int("axis", -1)), x, operator.path, operator.kind)
    axis = operator.get_int("axis", 1) % max(x.ndim, 1)
    long = [index for index in range(axis, x.ndim) if x.shape[index] != 1]
    if len(long) <= 1:
        return builder.module(make(long[0] if long else axis), x, operator.path, operator.kind)
    flat = builder.call(torch.flatten, x, axis, path=operator.path)
    result = builder.module(make(axis), flat, operator.path, operator.kind)
    return reshape(builder, result, shape_value(x), operator.path)


OPERATORS: dict[str, Converter] = {
    "Celu": apply_elu,
    "Elu": apply_elu,
    "Gelu": activation(lambda operator: nn.GELU(operator.get_text("approximate", "none"))),
    "HardSigmoid": apply_hard_sigmoid,
    "HardSwish": activation(lambda operator: nn.Hardswish()),
    "LeakyRelu": activation(lambda operator: nn.LeakyReLU(operator.get_float("alpha", 0.01))),
    "LogSoftmax": apply_softmax,
    "Mish": activation(lambda operator: nn.Mish()),
    "PRelu": apply_prelu,
    "Relu": activation(lambda operator: nn.ReLU()),
    "Selu": apply_selu,
    "Sigmoid": activation(lambda operator: nn.Sigmoid()),
    "Softmax": apply_softmax,
    "Softplus": activation(lambda operator: nn.Softplus()),
    "Softsign": activation(lambda operator: nn.Softsign()),
    "Swish": apply_swish,
    "Tanh": activation(lambda operator: nn.Tanh()),
}
