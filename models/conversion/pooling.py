"""Pooling, with padding that differs from side to side and outputs that are rounded up."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from models.conversion.errors import UnsupportedOperator
from models.conversion.padding import Sides, pad_spatial
from models.conversion.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models.conversion.graph_builder import GraphBuilder


def pool_max(
    builder: GraphBuilder,
    x: Value,
    path: str,
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sides,
    dilation: Sequence[int],
    is_rounded_up: bool = False,
) -> Value:
    """Take the maximum of each window of (B, C, H, W) or (B, C, L); padding never counts."""
    if _has_one_axis(x, kernel):
        pool = partial(pool_max, dilation=[*dilation, 1], is_rounded_up=is_rounded_up)
        return _pool_rows(pool, builder, x, path, kernel, stride, padding)
    before, after = padding
    if _is_plain(padding, kernel) and not is_rounded_up:
        layer = nn.MaxPool2d(pair(kernel), pair(stride), pair(before), pair(dilation))
        return builder.module(layer, x, path, "pool")
    sizes = _count_windows(x.shape[2:], kernel, stride, padding, dilation, is_rounded_up)
    after = _end_of_windows(x.shape[2:], kernel, stride, before, dilation, sizes)
    x = pad_spatial(builder, x, (list(before), after), path, value=float("-inf"))
    return builder.module(nn.MaxPool2d(pair(kernel), pair(stride), 0, pair(dilation)), x, path, "pool")


def pool_average(
    builder: GraphBuilder,
    x: Value,
    path: str,
    *,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sides,
    is_rounded_up: bool = False,
    counts_padding: bool = False,
) -> Value:
    """Average each window of (B, C, H, W) or (B, C, L); what lies beyond the input counts as zeros, or not at all."""
    if _has_one_axis(x, kernel):
        pool = partial(pool_average, is_rounded_up=is_rounded_up, counts_padding=counts_padding)
        return _pool_rows(pool, builder, x, path, kernel, stride, padding)
    before, after = padding
    if _is_plain(padding, kernel) and not is_rounded_up:
        layer = nn.AvgPool2d(pair(kernel), pair(stride), pair(before), count_include_pad=counts_padding)
        return builder.module(layer, x, path, "pool")
    ones = [1] * len(kernel)
    sizes = _count_windows(x.shape[2:], kernel, stride, padding, ones, is_rounded_up)
    end = _end_of_windows(x.shape[2:], kernel, stride, before, ones, sizes)
    counted = torch.ones(1, 1, *x.shape[2:])
    inside = [after[0] if counts_padding else 0, after[1] if counts_padding else 0]
    counted = nn.functional.pad(counted, [before[1], inside[1], before[0], inside[0]], value=float(counts_padding))
    counted = nn.functional.pad(counted, [0, end[1] - inside[1], 0, end[0] - inside[0]])
    x = pad_spatial(builder, x, (list(before), end), path)
    sums = nn.AvgPool2d(pair(kernel), pair(stride), divisor_override=1)
    numbers = sums(counted)
    if (numbers == math.prod(kernel)).all():
        return builder.module(nn.AvgPool2d(pair(kernel), pair(stride)), x, path, "pool")
    return builder.call(
        torch.div, builder.module(sums, x, path, "pool"), Value.constant(numbers), path=path, name="pool_mean"
    )


def pool_global(builder: GraphBuilder, x: Value, path: str, *, takes_maximum: bool = False) -> Value:
    """Average each channel of (B, C, …), or take its maximum, keeping axes of length 1."""
    if x.ndim == 4:
        return builder.module(nn.AdaptiveMaxPool2d(1) if takes_maximum else nn.AdaptiveAvgPool2d(1), x, path, "pool")
    axes = list(range(2, x.ndim))
    return builder.call(torch.amax if takes_maximum else torch.mean, x, axes, True, path=path, name="pool")


def pair(numbers: Sequence[int]) -> tuple[int, int]:
    """Convert the numbers of two axes into a pair."""
    first, second = numbers
    return first, second


def _has_one_axis(x: Value, kernel: Sequence[int]) -> bool:
    """Tell whether a pooling is of (B, C, L), else of (B, C, H, W). Raises UnsupportedOperator of others."""
    if x.ndim not in (3, 4) or len(kernel) != x.ndim - 2:
        raise UnsupportedOperator(
            f"Pooling on {x.ndim - 2} axes. Graft takes networks of flat images: export one with pooling on two."
        )
    return x.ndim == 3


def _pool_rows(
    pool: Callable[..., Value],
    builder: GraphBuilder,
    x: Value,
    path: str,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sides,
) -> Value:
    """Pool (B, C, L) as an image that is one pixel wide."""
    before, after = padding
    image = builder.call(torch.unsqueeze, x, 3, path=path)
    sides = [*before, 0], [*after, 0]
    result = pool(builder, image, path, kernel=[*kernel, 1], stride=[*stride, 1], padding=sides)
    return builder.call(torch.squeeze, result, 3, path=path)


def _is_plain(padding: Sides, kernel: Sequence[int]) -> bool:
    """Tell whether torch's own modules pad like this: the same on both sides, and by half a window at most."""
    before, after = padding
    return before == after and all(0 <= 2 * number <= length for number, length in zip(before, kernel, strict=True))


def _count_windows(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sides,
    dilation: Sequence[int],
    is_rounded_up: bool,
) -> list[int]:
    """Count the windows along each axis; none starts beyond the input and the padding before it."""
    counts = []
    for axis, size in enumerate(sizes):
        before, after = padding[0][axis], padding[1][axis]
        steps = (size + before + after - (kernel[axis] - 1) * dilation[axis] - 1) / stride[axis]
        count = (math.ceil(steps) if is_rounded_up else math.floor(steps)) + 1
        if is_rounded_up and (count - 1) * stride[axis] >= size + before:
            count -= 1
        counts.append(count)
    return counts


def _end_of_windows(
    sizes: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    before: Sequence[int],
    dilation: Sequence[int],
    counts: Sequence[int],
) -> list[int]:
    """Compute how far the last window reaches beyond the input, along each axis."""
    return [
        max((counts[axis] - 1) * stride[axis] + (kernel[axis] - 1) * dilation[axis] + 1 - size - before[axis], 0)
        for axis, size in enumerate(sizes)
    ]
