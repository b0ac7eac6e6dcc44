"""Padding of convolutions and pooling: the same on both sides, different on each side, or to a size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import nn

from models.conversion.errors import UnsupportedOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.conversion.graph_builder import GraphBuilder
    from models.conversion.values import Value

Sides = tuple[list[int], list[int]]
"""Numbers of elements before and after each spatial axis."""

MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
"""Modes of padding, and torch's names of them."""


def compute_same_padding(
    sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], is_upper: bool = True
) -> Sides:
    """Compute the padding with which the output has ⌈size/stride⌉ elements, as TensorFlow's SAME.

    An odd element goes after the input if `is_upper`, else before it.
    """
    before, after = [], []
    for size, length, step, gap in zip(sizes, kernel, stride, dilation, strict=True):
        total = max((math.ceil(size / step) - 1) * step + (length - 1) * gap + 1 - size, 0)
        less, more = total // 2, total - total // 2
        before.append(less if is_upper else more)
        after.append(more if is_upper else less)
    return before, after


def pad_spatial(builder: GraphBuilder, x: Value, sides: Sides, path: str, value: float = 0.0) -> Value:
    """Pad the spatial axes of (B, C, …) by a number."""
    before, after = sides
    return pad(builder, x, [0, 0, *before], [0, 0, *after], path, value=value)


def pad(
    builder: GraphBuilder,
    x: Value,
    before: Sequence[int],
    after: Sequence[int],
    path: str,
    *,
    mode: str = "constant",
    value: float = 0.0,
) -> Value:
    """Pad every axis of a value, or crop it where a number is negative."""
    flat = [number for pair in zip(reversed(before), reversed(after), strict=True) for number in pair]
    while flat and flat[-2:] == [0, 0]:
        del flat[-2:]
    if not flat:
        return x
    if mode == "constant":
        return builder.call(nn.functional.pad, x, flat, path=path, mode="constant", value=value)
    spatial = 2 * (x.ndim - 2)
    if mode not in MODES or len(flat) > spatial or min(flat) < 0:
        raise UnsupportedOperator(f"Padding of mode '{mode}' on these axes. Pad by zeros, or height and width alone.")
    return builder.call(nn.functional.pad, x, flat + [0] * (spatial - len(flat)), path=path, mode=MODES[mode])
