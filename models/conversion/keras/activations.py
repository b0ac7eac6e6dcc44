"""Keras's activations: layers of their own, and names in the configuration of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.conversion.keras.layer_call import Call
    from models.conversion.values import Value

MODULES: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "hard_silu": nn.Hardswish,
    "hard_swish": nn.Hardswish,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "mish": nn.Mish,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "swish": nn.SiLU,
    "tanh": nn.Tanh,
}
"""Modules by the names of activations."""


def activate(call: Call, x: Value, activation: Any) -> Value:
    """Apply the activation that a configuration names."""
    name = activation
    if isinstance(activation, dict):
        if activation.get("class_name") not in ("function", "str") and isinstance(activation.get("config"), dict):
            return apply_layer(call, x, str(activation["class_name"]), activation["config"])
        name = activation.get("config")
    if name is None or name == "linear":
        return x
    if name == "hard_sigmoid":
        return _apply_hard_sigmoid(call, x)
    if name in ("softmax", "log_softmax"):
        kind = nn.Softmax if name == "softmax" else nn.LogSoftmax
        return call.builder.module(kind(call.axis(-1, x.ndim)), x, call.path, name)
    if name == "exponential":
        return call.builder.call(torch.exp, x, path=call.path)
    if not isinstance(name, str) or name not in MODULES:
        raise call.unsupported(f"has the activation {str(name)[:100]!r}")
    return call.builder.module(MODULES[name](), x, call.path, name)


def _apply_hard_sigmoid(call: Call, x: Value) -> Value:
    """Compute max(0, min(1, x/6 + 1/2)); Keras 2 has x/5 + 1/2."""
    if not call.is_keras_2:
        return call.builder.module(nn.Hardsigmoid(), x, call.path, "hard_sigmoid")
    shifted = call.builder.call(torch.add, call.builder.call(torch.mul, x, 0.2, path=call.path), 0.5, path=call.path)
    return call.builder.call(torch.clamp, shifted, 0.0, 1.0, path=call.path)


def apply_activation(call: Call) -> Value:
    """Apply the layer Activation."""
    return activate(call, call.x, call.config["activation"])


def apply_activation_layer(call: Call) -> Value:
    """Apply a layer that is an activation with options."""
    return apply_layer(call, call.x, call.kind, call.config)


def apply_layer(call: Call, x: Value, kind: str, config: dict[str, Any]) -> Value:
    """Apply an activation with options, by the name of its class."""
    if kind == "ReLU":
        return _apply_relu(call, x, config)
    if kind == "LeakyReLU":
        slope = config.get("negative_slope", config.get("alpha", 0.3))
        return call.builder.module(nn.LeakyReLU(float(slope)), x, call.path, "leaky_relu")
    if kind == "ELU":
        return call.builder.module(nn.ELU(float(config.get("alpha", 1.0))), x, call.path, "elu")
    if kind == "Softmax":
        axis = config.get("axis", -1)
        if not isinstance(axis, int):
            raise call.unsupported(f"has the axes {axis}")
        return call.builder.module(nn.Softmax(call.axis(axis, x.ndim)), x, call.path, "softmax")
    raise call.unsupported(f"has the activation {kind!r}")


def _apply_relu(call: Call, x: Value, config: dict[str, Any]) -> Value:
    """Compute max(0, x), limited to a largest number, or with a slope below 0."""
    largest, slope = config.get("max_value"), config.get("negative_slope") or 0.0
    if config.get("threshold"):
        raise call.unsupported("has a threshold")
    if largest is None:
        layer = nn.LeakyReLU(float(slope)) if slope else nn.ReLU()
        return call.builder.module(layer, x, call.path, "relu")
    if slope:
        raise call.unsupported("has a slope and a largest value")
    if largest == 6:
        return call.builder.module(nn.ReLU6(), x, call.path, "relu")
    return call.builder.call(torch.clamp, x, 0.0, float(largest), path=call.path, name="relu")


def apply_prelu(call: Call) -> Value:
    """Multiply negative values by a slope of their own for each channel, or for each place."""
    x = call.x
    slope = call.constant(call.find_weights("alpha")["alpha"], x.ndim)
    channels = slope.tensor.reshape(-1)
    if x.ndim == 4 and channels.numel() == slope.shape[1]:
        layer = nn.PReLU(channels.numel(), device="meta")
        return call.builder.module(layer, x, call.path, "prelu", weight=channels)
    negative = call.builder.call(torch.clamp, x, None, 0.0, path=call.path)
    positive = call.builder.module(nn.ReLU(), x, call.path, "relu")
    return call.builder.call(
        torch.add, positive, call.builder.call(torch.mul, negative, slope, path=call.path), path=call.path
    )


ACTIVATIONS: dict[str, Callable[[Call], Value]] = {
    **dict.fromkeys(("ReLU", "LeakyReLU", "ELU", "Softmax"), apply_activation_layer),
    "Activation": apply_activation,
    "PReLU": apply_prelu,
}
