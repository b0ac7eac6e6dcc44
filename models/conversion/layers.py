"""Layers with weights: convolutions, linear layers and normalizations, as torch's own modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from models.conversion.errors import UnsupportedOperator
from models.conversion.padding import Sides, pad_spatial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.conversion.graph_builder import GraphBuilder
    from models.conversion.values import Value

CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
COMPUTED = "The weights of this layer are computed from the image. Export a network whose weights are constants."


def convolve(
    builder: GraphBuilder,
    x: Value,
    weight: Value,
    bias: Value | None,
    path: str,
    *,
    stride: Sequence[int],
    padding: Sides,
    dilation: Sequence[int],
    groups: int = 1,
) -> Value:
    """Convolve (B, C_in, …) by a constant weight (C_out, C_in / groups, …), on one to three axes."""
    kernel = get_constant(weight)
    axes = kernel.ndim - 2
    if axes not in CONVOLUTIONS:
        raise UnsupportedOperator(
            f"A convolution on {axes} axes. Graft takes networks of flat images, with convolutions on three at most."
        )
    before, after = padding
    if before != after or min(before) < 0:
        x, before = pad_spatial(builder, x, padding, path), [0] * axes
    layer = CONVOLUTIONS[axes](
        kernel.shape[1] * groups,
        kernel.shape[0],
        tuple(kernel.shape[2:]),
        tuple(stride),
        tuple(before),
        tuple(dilation),
        groups,
        device="meta",
    )
    return builder.module(layer, x, path, "conv", weight=kernel, bias=get_bias(bias, kernel.shape[0]))


def apply_linear(builder: GraphBuilder, x: Value, weight: Value, bias: Value | None, path: str) -> Value:
    """Multiply the last axis of a value by a constant weight (D_in, D_out) and add a bias (D_out)."""
    matrix = get_constant(weight)
    layer = nn.Linear(matrix.shape[0], matrix.shape[1], device="meta")
    return builder.module(
        layer, x, path, "linear", weight=matrix.t().contiguous(), bias=get_bias(bias, matrix.shape[1])
    )


def normalize_batch(
    builder: GraphBuilder,
    x: Value,
    weight: Value,
    bias: Value,
    mean: Value,
    variance: Value,
    path: str,
    epsilon: float,
) -> Value:
    """Normalize the channels of (B, C, …) by constant statistics: torch's BatchNorm in evaluation mode."""
    channels = x.shape[1]
    kind: Callable[..., nn.Module] = nn.BatchNorm2d if x.ndim == 4 else nn.BatchNorm1d
    if x.ndim not in (2, 3, 4):
        raise UnsupportedOperator(f"A BatchNorm of a value with {x.ndim} axes. Export a network of flat images.")
    return builder.module(
        kind(channels, eps=epsilon, device="meta"),
        x,
        path,
        "bn",
        weight=_expand(weight, channels),
        bias=_expand(bias, channels),
        running_mean=_expand(mean, channels),
        running_var=_expand(variance, channels),
        num_batches_tracked=torch.tensor(0),
    )


def normalize_layer(
    builder: GraphBuilder, x: Value, weight: Value | None, bias: Value | None, path: str, *, axes: int, epsilon: float
) -> Value:
    """Normalize the last axes of a value by their own mean and variance: torch's LayerNorm."""
    shape = tuple(x.shape[x.ndim - axes :])
    count = torch.Size(shape).numel()
    scale = torch.ones(shape) if weight is None else _expand(weight, count).reshape(shape)
    shift = torch.zeros(shape) if bias is None else _expand(bias, count).reshape(shape)
    return builder.module(nn.LayerNorm(shape, eps=epsilon, device="meta"), x, path, "norm", weight=scale, bias=shift)


def normalize_groups(
    builder: GraphBuilder, x: Value, weight: Value, bias: Value, path: str, *, groups: int, epsilon: float
) -> Value:
    """Normalize groups of channels of (B, C, …) by their own mean and variance, with C weights: torch's GroupNorm."""
    channels = x.shape[1]
    return builder.module(
        nn.GroupNorm(groups, channels, eps=epsilon, device="meta"),
        x,
        path,
        "norm",
        weight=_expand(weight, channels),
        bias=_expand(bias, channels),
    )


def get_constant(weight: Value) -> torch.Tensor:
    """Get a weight as a float32 tensor; raises UnsupportedOperator if it depends on the image."""
    if not weight.is_constant:
        raise UnsupportedOperator(COMPUTED)
    return weight.tensor.float()


def get_bias(bias: Value | None, length: int) -> torch.Tensor:
    """Get a bias, zeros if there is none: every layer has one, so that each can become a classifier."""
    return torch.zeros(length) if bias is None else _expand(bias, length)


def _expand(value: Value, length: int) -> torch.Tensor:
    """Get a vector of this length from a constant, which may hold one number."""
    vector = get_constant(value).reshape(-1)
    if vector.numel() not in (1, length):
        raise UnsupportedOperator(f"A layer of {length} channels has weights of {vector.numel()} numbers.")
    return vector.expand(length).contiguous()
