"""Layers of an exported graph as modules of torch.nn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import fx

    Find = Callable[[Any], torch.Tensor | None]
    """Gets the tensor of the network that an argument is; None if it is computed."""
    Built = tuple[nn.Module, str | None, Sequence[Any]]
    """A module; the path of the layer whose weight it has, if the weight is named so; what it is run on."""

aten = torch.ops.aten
WEIGHT = ".weight"
MAX_RELU6 = 6


def build_module(node: fx.Node, find: Find) -> Built | None:
    """Build the module that an exported call is; None if it is none, or if its weights are computed."""
    build = BUILDERS.get(node.target)
    return None if build is None else build(node, find)


def _bind(node: fx.Node) -> dict[str, Any]:
    """Get an exported call's arguments by name, with the operator's defaults."""
    parameters = node.target._schema.arguments  # type: ignore[union-attr]
    given = dict(zip((parameter.name for parameter in parameters), node.args, strict=False))
    defaults = {parameter.name: parameter.default_value for parameter in parameters if parameter.has_default_value()}
    return {**defaults, **given, **node.kwargs}


def _get_weights(named: dict[str, Any], find: Find, *names: str) -> dict[str, torch.Tensor | None] | None:
    """Get tensors of the network that a call is given; None if one of them is computed."""
    found = {name: find(named[name]) for name in names}
    return None if any(found[name] is None and named[name] is not None for name in names) else found


def _set_parameters(module: nn.Module, weights: dict[str, torch.Tensor | None]) -> None:
    """Give a module, which was built without values, the network's own tensors."""
    for name, tensor in weights.items():
        if name in module._buffers:
            module.register_buffer(name, tensor)
        else:
            is_new = tensor is not None and not isinstance(tensor, nn.Parameter)
            module.register_parameter(name, nn.Parameter(tensor, requires_grad=False) if is_new else tensor)  # type: ignore[arg-type]


def _name(named: dict[str, Any]) -> str | None:
    """Name the layer whose weight an argument is: the path without .weight."""
    target = str(named["weight"].target) if named["weight"] is not None else ""
    return target.removesuffix(WEIGHT) if target.endswith(WEIGHT) else None


def _build_linear(node: fx.Node, find: Find) -> Built | None:
    named = _bind(node)
    weights = _get_weights(named, find, "weight", "bias")
    if weights is None or weights["weight"] is None or weights["weight"].ndim != 2:
        return None
    out_features, in_features = weights["weight"].shape
    module = nn.Linear(in_features, out_features, named["bias"] is not None, device="meta")
    _set_parameters(module, weights)
    return module, _name(named), [named["input"]]


CONVOLUTIONS: dict[Any, type[nn.Conv1d | nn.Conv2d]] = {
    aten.conv1d.default: nn.Conv1d,
    aten.conv1d.padding: nn.Conv1d,
    aten.conv2d.default: nn.Conv2d,
    aten.conv2d.padding: nn.Conv2d,
}


def _build_convolution(node: fx.Node, find: Find) -> Built | None:
    named = _bind(node)
    weights = _get_weights(named, find, "weight", "bias")
    if weights is None or weights["weight"] is None:
        return None
    out_channels, in_channels, *sides = weights["weight"].shape
    kernel: Any = tuple(sides)

    def spread(value: Any) -> Any:
        return tuple(value) * (len(kernel) // len(value)) if isinstance(value, list | tuple) else (value,) * len(kernel)

    padding = named["padding"]
    module = CONVOLUTIONS[node.target](
        in_channels * named["groups"],
        out_channels,
        kernel,
        stride=spread(named["stride"]),
        padding=padding if isinstance(padding, str) else spread(padding),
        dilation=spread(named["dilation"]),
        groups=named["groups"],
        bias=named["bias"] is not None,
        device="meta",
    )
    _set_parameters(module, weights)
    return module, _name(named), [named["input"]]


def _build_batch_norm(node: fx.Node, find: Find) -> Built | None:
    named = _bind(node)
    weights = _get_weights(named, find, "weight", "bias", "running_mean", "running_var")
    if weights is None or weights["running_mean"] is None:
        return None
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}.get(named["input"].meta["val"].ndim)
    if kind is None:
        return None
    is_affine = weights["weight"] is not None
    module = kind(len(weights["running_mean"]), named["eps"], named["momentum"], affine=is_affine, device="meta")
    _set_parameters(module, weights)
    module.register_buffer("num_batches_tracked", torch.tensor(0))
    return module, _name(named), [named["input"]]


def _build_layer_norm(node: fx.Node, find: Find) -> Built | None:
    named = _bind(node)
    weights = _get_weights(named, find, "weight", "bias")
    if weights is None or (weights["weight"] is None and weights["bias"] is not None):
        return None
    shape, has_weight = list(named["normalized_shape"]), weights["weight"] is not None
    module = nn.LayerNorm(shape, named["eps"], has_weight, bias=weights["bias"] is not None, device="meta")
    _set_parameters(module, weights)
    return module, _name(named), [named["input"]]


def _build_group_norm(node: fx.Node, find: Find) -> Built | None:
    named = _bind(node)
    weights = _get_weights(named, find, "weight", "bias")
    if weights is None or weights["weight"] is None or weights["bias"] is None:
        return None
    module = nn.GroupNorm(named["num_groups"], len(weights["weight"]), named["eps"], device="meta")
    _set_parameters(module, weights)
    return module, _name(named), [named["input"]]


def _build_hardtanh(node: fx.Node, find: Find) -> Built | None:
    named = _bind(node)
    is_relu6 = (named["min_val"], named["max_val"]) == (0, MAX_RELU6)
    return (nn.ReLU6() if is_relu6 else nn.Hardtanh(named["min_val"], named["max_val"])), None, [named["self"]]


def _build_activation(module: type[nn.Module], *names: str) -> Callable[[fx.Node, Find], Built]:
    """Build an activation with these arguments of its operator."""

    def build(node: fx.Node, find: Find) -> Built:
        named = _bind(node)
        return module(**{name: named[name] for name in names}), None, [named["self"]]

    return build


BUILDERS: dict[Any, Callable[[fx.Node, Find], Built | None]] = {
    aten.linear.default: _build_linear,
    **dict.fromkeys(CONVOLUTIONS, _build_convolution),
    aten._native_batch_norm_legit_no_training.default: _build_batch_norm,
    aten.batch_norm.default: _build_batch_norm,
    aten.layer_norm.default: _build_layer_norm,
    aten.group_norm.default: _build_group_norm,
    aten.gelu.default: _build_activation(nn.GELU, "approximate"),
    aten.hardsigmoid.default: _build_activation(nn.Hardsigmoid),
    aten.hardswish.default: _build_activation(nn.Hardswish),
    aten.hardtanh.default: _build_hardtanh,
    aten.leaky_relu.default: _build_activation(nn.LeakyReLU, "negative_slope"),
    aten.mish.default: _build_activation(nn.Mish),
    aten.relu.default: _build_activation(nn.ReLU),
    aten.relu6.default: _build_activation(nn.ReLU6),
    aten.sigmoid.default: _build_activation(nn.Sigmoid),
    aten.silu.default: _build_activation(nn.SiLU),
    aten.tanh.default: _build_activation(nn.Tanh),
}
