"""Keras's layers with weights or windows as torch's modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from models.conversion.arithmetic import apply_binary
from models.conversion.keras.activations import activate
from models.conversion.keras.layer_call import pair
from models.conversion.layers import apply_linear, convolve, normalize_batch, normalize_groups, normalize_layer
from models.conversion.padding import Sides, compute_same_padding, pad
from models.conversion.pooling import pool_average, pool_global, pool_max
from models.conversion.shapes import permute, reshape_to
from models.conversion.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.conversion.keras.layer_call import Call


def _kernel_names(call: Call, *kernels: str) -> list[str]:
    return [*kernels, *(["bias"] if call.config.get("use_bias", True) else [])]


def _find_padding(call: Call, x: Value, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Sides:
    """Find the padding that `same` or `valid` means."""
    call.require("data_format", "channels_last", None)
    call.require("padding", "valid", "same")
    if call.config.get("padding", "valid") == "valid":
        return [0, 0], [0, 0]
    return compute_same_padding(x.shape[2:], kernel, stride, dilation)


def _convolve(call: Call, x: Value, kernel: torch.Tensor, bias: torch.Tensor | None, groups: int) -> Value:
    """Convolve by a kernel (C_out, C_in / groups, H, W) with the layer's stride, padding and dilation."""
    stride, dilation = pair(call.config.get("strides", 1)), pair(call.config.get("dilation_rate", 1))
    return convolve(
        call.builder,
        x,
        Value.constant(kernel.contiguous()),
        None if bias is None else Value.constant(bias),
        call.path,
        stride=stride,
        padding=_find_padding(call, x, kernel.shape[2:], stride, dilation),
        dilation=dilation,
        groups=groups,
    )


def apply_convolution(call: Call) -> Value:
    """Convolve by a kernel (H, W, C_in / groups, C_out)."""
    weights = call.find_weights(*_kernel_names(call, "kernel"))
    kernel = weights["kernel"].permute(3, 2, 0, 1)
    y = _convolve(call, call.x, kernel, weights.get("bias"), int(call.config.get("groups", 1)))
    return activate(call, y, call.config.get("activation"))


def apply_depthwise_convolution(call: Call) -> Value:
    """Convolve each channel by kernels of its own, (H, W, C, M)."""
    weights = call.find_weights(*_kernel_names(call, "kernel|depthwise_kernel"))
    kernel, groups = _as_grouped(weights["kernel"])
    return activate(call, _convolve(call, call.x, kernel, weights.get("bias"), groups), call.config.get("activation"))


def _as_grouped(kernel: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Reorder a kernel (H, W, C, M) to (C·M, 1, H, W) for C groups."""
    height, width, channels, multiplier = kernel.shape
    return kernel.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width), channels


def apply_separable_convolution(call: Call) -> Value:
    """Convolve each channel alone, then all of them at each point."""
    weights = call.find_weights(*_kernel_names(call, "depthwise_kernel", "pointwise_kernel"))
    kernel, groups = _as_grouped(weights["depthwise_kernel"])
    y = _convolve(call, call.x, kernel, None, groups)
    pointwise = weights["pointwise_kernel"].permute(3, 2, 0, 1).contiguous()
    bias = Value.constant(weights["bias"]) if "bias" in weights else None
    one: list[int] = [1, 1]
    y = convolve(
        call.builder,
        y,
        Value.constant(pointwise),
        bias,
        call.path,
        stride=one,
        padding=([0, 0], [0, 0]),
        dilation=one,
    )
    return activate(call, y, call.config.get("activation"))


def apply_dense(call: Call) -> Value:
    """Multiply the last axis by a kernel (D_in, D_out); on maps, a convolution of one point."""
    weights = call.find_weights(*_kernel_names(call, "kernel"))
    bias = Value.constant(weights["bias"]) if "bias" in weights else None
    if call.x.ndim == 4:
        kernel = weights["kernel"].t()[:, :, None, None].contiguous()
        one: list[int] = [1, 1]
        y = convolve(
            call.builder,
            call.x,
            Value.constant(kernel),
            bias,
            call.path,
            stride=one,
            padding=([0, 0], [0, 0]),
            dilation=one,
        )
    else:
        y = apply_linear(call.builder, call.x, Value.constant(weights["kernel"]), bias, call.path)
    return activate(call, y, call.config.get("activation"))


def _last_axis(call: Call) -> None:
    """Check that a normalization is over the last axis, the channels."""
    axis = call.config.get("axis", -1)
    axes = axis if isinstance(axis, list | tuple) else [axis]
    if [number % call.x.ndim for number in axes] != [call.x.ndim - 1]:
        raise call.unsupported(f"normalizes the axes {axis}")


def _scale_names(call: Call) -> list[str]:
    has_scale = call.config.get("scale", True)
    return [*(["gamma"] if has_scale else []), *(["beta"] if call.config.get("center", True) else [])]


def apply_batch_norm(call: Call) -> Value:
    """Normalize channels by the statistics of training."""
    _last_axis(call)
    weights = call.find_weights(*_scale_names(call), "moving_mean", "moving_variance")
    mean, variance = weights["moving_mean"], weights["moving_variance"]
    gamma, beta = weights.get("gamma", torch.ones_like(mean)), weights.get("beta", torch.zeros_like(mean))
    x = permute(call.builder, call.x, (0, 2, 1), call.path) if call.x.ndim == 3 else call.x
    scale, shift, average, spread = (Value.constant(tensor) for tensor in (gamma, beta, mean, variance))
    epsilon = float(call.config.get("epsilon", 1e-3))
    y = normalize_batch(call.builder, x, scale, shift, average, spread, call.path, epsilon)
    return permute(call.builder, y, (0, 2, 1), call.path) if call.x.ndim == 3 else y


def apply_layer_norm(call: Call) -> Value:
    """Normalize each vector of channels by its own mean and variance."""
    _last_axis(call)
    call.require("rms_scaling", False)
    weights = call.find_weights(*_scale_names(call))
    scale, shift = (Value.constant(weights[name]) if name in weights else None for name in ("gamma", "beta"))
    x = call.in_keras_order(call.x)
    epsilon = float(call.config.get("epsilon", 1e-3))
    return call.store(normalize_layer(call.builder, x, scale, shift, call.path, axes=1, epsilon=epsilon))


def apply_group_norm(call: Call) -> Value:
    """Normalize groups of channels by their own mean and variance."""
    _last_axis(call)
    if call.x.ndim != 4:
        raise call.unsupported("normalizes groups of vectors")
    weights = call.find_weights(*_scale_names(call))
    channels = call.x.shape[1]
    scale = Value.constant(weights.get("gamma", torch.ones(channels)))
    shift = Value.constant(weights.get("beta", torch.zeros(channels)))
    groups = int(call.config.get("groups", 32))
    epsilon = float(call.config.get("epsilon", 1e-3))
    groups = channels if groups == -1 else groups
    return normalize_groups(call.builder, call.x, scale, shift, call.path, groups=groups, epsilon=epsilon)


def rescale(call: Call) -> Value:
    """Multiply by a scale and add an offset."""
    x = call.x
    scale, offset = (call.constant(call.config.get(name, 0.0), x.ndim) for name in ("scale", "offset"))
    y = apply_binary(call.builder, torch.mul, x, scale, call.path)
    return apply_binary(call.builder, torch.add, y, offset, call.path) if offset.tensor.any() else y


def normalize(call: Call) -> Value:
    """Subtract a mean and divide by a standard deviation, given or measured on the images of training."""
    call.require("invert", False)
    mean, variance = call.config.get("mean"), call.config.get("variance")
    if mean is None or variance is None:
        weights = call.find_weights("mean", "variance", "count")
        mean, variance = weights["mean"], weights["variance"]
    means = call.constant(mean, call.x.ndim)
    deviation = call.constant(torch.as_tensor(variance, dtype=torch.float32).sqrt().clamp_min(1e-7), call.x.ndim)
    y = apply_binary(call.builder, torch.sub, call.x, means, call.path)
    return apply_binary(call.builder, torch.div, y, deviation, call.path)


def pool(call: Call) -> Value:
    """Average each window, or take its maximum; padding never counts."""
    x = call.x
    kernel = pair(call.config.get("pool_size", 2))
    stride = pair(call.config.get("strides") or kernel)
    padding = _find_padding(call, x, kernel, stride, [1, 1])
    if call.kind.startswith("Max"):
        return pool_max(call.builder, x, call.path, kernel=kernel, stride=stride, padding=padding, dilation=[1, 1])
    return pool_average(call.builder, x, call.path, kernel=kernel, stride=stride, padding=padding)


def pool_everything(call: Call) -> Value:
    """Average each channel of the whole map, or take its maximum."""
    call.require("data_format", "channels_last", None)
    x, keeps = call.x, bool(call.config.get("keepdims", False))
    takes_maximum = "Max" in call.kind
    if x.ndim == 4:
        maps = pool_global(call.builder, x, call.path, takes_maximum=takes_maximum)
        return maps if keeps else call.builder.call(torch.flatten, maps, 1, path=call.path)
    reduce = torch.amax if takes_maximum else torch.mean
    return call.builder.call(reduce, x, [1], keeps, path=call.path, name="pool")


def pad_or_crop(call: Call) -> Value:
    """Pad height and width by zeros, or crop them."""
    call.require("data_format", "channels_last", None)
    is_cropping = call.kind == "Cropping2D"
    numbers = call.config["cropping" if is_cropping else "padding"]
    sides = [pair(side) for side in pair_of_sides(numbers)]
    sign = -1 if is_cropping else 1
    before, after = ([0, 0, *(sign * side[end] for side in sides)] for end in (0, 1))
    return pad(call.builder, call.x, before, after, call.path)


def pair_of_sides(numbers: int | Sequence[int | Sequence[int]]) -> list[int | Sequence[int]]:
    """Read numbers for the sides of two axes: one number, two, or two pairs."""
    return [numbers, numbers] if isinstance(numbers, int) else list(numbers)


def upsample(call: Call) -> Value:
    """Repeat, or interpolate between, the points of a map."""
    call.require("data_format", "channels_last", None)
    call.require("interpolation", "nearest", "bilinear")
    factors = pair(call.config.get("size", 2))
    size = [length * factor for length, factor in zip(call.x.shape[2:], factors, strict=True)]
    if call.config.get("interpolation", "nearest") == "nearest":
        return call.builder.call(functional.interpolate, call.x, path=call.path, size=size, mode="nearest")
    return call.builder.call(
        functional.interpolate, call.x, path=call.path, size=size, mode="bilinear", align_corners=False
    )


def attend(call: Call) -> Value:
    """Attention of several heads (Vaswani et al., 2017)."""
    unknown = {name for name in call.options if name not in ("training", "value", "key", "query")} - _empty(call)
    if unknown or not isinstance(call.arguments[0], Value) or call.config.get("attention_axes") not in (None, [1]):
        raise call.unsupported(f"takes {', '.join(sorted(unknown)) or 'other axes than the tokens'}")
    named = [call.options.get(name) for name in ("query", "value", "key")]
    given = [*call.arguments, *named[len(call.arguments) :]]
    query, value, key = given[0], given[1], given[2] if given[2] is not None else given[1]
    heads = [
        _project(call, tensor, part)
        for tensor, part in ((query, "query_dense"), (key, "key_dense"), (value, "value_dense"))
    ]
    attention = functional.scaled_dot_product_attention
    mixed = call.builder.call(attention, *heads, path=call.path, name="attention")
    joined = permute(call.builder, mixed, (0, 2, 1, 3), call.path)
    joined = reshape_to(call.builder, joined, [-1, joined.shape[1], joined.shape[2] * joined.shape[3]], call.path)
    weights = call.find_weights(*_kernel_names(call, "kernel"), part="output_dense")
    kernel = weights["kernel"].reshape(-1, weights["kernel"].shape[-1])
    bias = Value.constant(weights["bias"]) if "bias" in weights else None
    return apply_linear(call.builder, joined, Value.constant(kernel), bias, f"{call.path}.output")


def _empty(call: Call) -> set[str]:
    """Find the options that are left empty."""
    return {name for name, value in call.options.items() if value is None or value is False}


def _project(call: Call, x: Value, part: str) -> Value:
    """Compute queries, keys or values: (B, T, D) → (B, heads, T, D / heads)."""
    weights = call.find_weights(*_kernel_names(call, "kernel"), part=part)
    width, heads, size = weights["kernel"].shape
    bias = Value.constant(weights["bias"].reshape(-1)) if "bias" in weights else None
    kernel = Value.constant(weights["kernel"].reshape(width, heads * size))
    y = apply_linear(call.builder, x, kernel, bias, f"{call.path}.{part.removesuffix('_dense')}")
    y = reshape_to(call.builder, y, [-1, y.shape[1], heads, size], call.path)
    return permute(call.builder, y, (0, 2, 1, 3), call.path)


def scale_channels(call: Call) -> Value:
    """Multiply each channel by a weight of its own (Touvron et al., 2021)."""
    gamma = call.constant(call.find_weights("gamma")["gamma"], call.x.ndim)
    return call.builder.call(torch.mul, call.x, gamma, path=call.path, name="scale")


LAYERS: dict[str, Callable[[Call], Value]] = {
    **dict.fromkeys(("AveragePooling2D", "MaxPooling2D"), pool),
    **dict.fromkeys(("BatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2"), apply_batch_norm),
    **dict.fromkeys(("Conv2D", "Convolution2D"), apply_convolution),
    **dict.fromkeys(("ZeroPadding2D", "Cropping2D"), pad_or_crop),
    **dict.fromkeys(
        ("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D"),
        pool_everything,
    ),
    "Dense": apply_dense,
    "DepthwiseConv2D": apply_depthwise_convolution,
    "GroupNormalization": apply_group_norm,
    "LayerNormalization": apply_layer_norm,
    "LayerScale": scale_channels,
    "MultiHeadAttention": attend,
    "Normalization": normalize,
    "Rescaling": rescale,
    "SeparableConv2D": apply_separable_convolution,
    "UpSampling2D": upsample,
}
