"""Reshapes, transposes, expansions and concatenations, with the size of the batch left open.

A file may be written for a batch of one size: its shapes then hold this number where the batch is. Which of a shape's
numbers is the batch follows from the value that is reshaped: of its axes, one is known to depend on the batch.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from models.conversion.errors import UnsupportedModel, UnsupportedOperator
from models.conversion.values import Value, collapse_rows, list_ints

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.conversion.graph_builder import GraphBuilder

MIXED = (
    "This network mixes the images of a batch, or holds the size of the batch in a shape. Export it with a dynamic "
    "batch, or with a fixed batch of 1."
)


def reshape(builder: GraphBuilder, x: Value, shape: Value, path: str, *, zero_copies: bool = True) -> Value:
    """Reshape a value; -1 stands for whatever is left, and 0 for the same length as before if `zero_copies`."""
    if not x.flows:
        return builder.fold(lambda t, s: t.reshape(_resolve(list_ints(s), t.shape, zero_copies)), x, shape)
    if builder.static_batch is not None and shape.is_constant:
        written = _resolve(shape.to_ints(), x.shape_at(builder.static_batch), zero_copies)
        sizes, parts = open_batch(x, written, builder.static_batch)
    else:
        parts = 1
        pairs = zip(shape.samples, x.samples, strict=True)
        both = [_resolve(list_ints(numbers), sample.shape, zero_copies) for numbers, sample in pairs]
        sizes = [first if first == second else -1 for first, second in zip(*both, strict=True)]
    return replace(reshape_to(builder, x, sizes, path), parts=parts)


def reshape_to(builder: GraphBuilder, x: Value, sizes: list[int], path: str) -> Value:
    """Reshape a value that flows to sizes of which one, the batch's axis, is -1."""
    if sizes.count(-1) > 1:
        raise UnsupportedModel(MIXED)
    if sizes == [-1 if axis == x.batch_axis else length for axis, length in enumerate(x.shape)]:
        return x
    if len(sizes) == 2 and sizes[0] == -1 and x.batch_axis == 0 and x.shape[1:].numel() == sizes[1]:
        return builder.call(torch.flatten, x, 1, path=path)
    return builder.call(torch.reshape, x, sizes, path=path)


def open_batch(x: Value, written: list[int], batch: int) -> tuple[list[int], int]:
    """Put -1 in place of the batch's length into a shape that is written for `batch` images.

    The batch is in the part of the shape that differs from the value's own: between the axes that are alike at its
    beginning and at its end. If nothing differs but that the batch's axis is gone, it has become part of its neighbour.
    Also returns how many parts the new axis has beyond the batch: see Value.parts.
    """
    axis = x.batch_axis
    assert axis is not None
    before = x.shape_at(batch)
    head = 0
    while head < min(axis, len(written)) and before[head] == written[head]:
        head += 1
    tail = 0
    while tail < min(len(before) - 1 - axis, len(written) - head) and before[-1 - tail] == written[-1 - tail]:
        tail += 1
    changed = range(head, len(written) - tail)
    if not changed:
        place = max(head - 1, 0)
        parts = written[place] // batch if head else 1
    else:
        passed = math.prod(before[head:axis]) * x.parts
        products = {index: math.prod(written[head:index]) for index in changed}
        starting = [index for index in changed if products[index] == passed and written[index] % batch == 0]
        around = [index for index in changed if products[index] * written[index] > passed]
        place = [*starting, *around, changed[-1]][0]
        parts = passed // products[place]
        if place == len(written) - 1 and place == head > 0 and parts == 1:  # the last axis holds an image's own numbers
            place, parts = place - 1, written[place - 1] // batch
    return [-1 if index == place else length for index, length in enumerate(written)], max(parts, 1)


def permute(builder: GraphBuilder, x: Value, axes: Sequence[int], path: str) -> Value:
    """Put the axes of a value in another order; orders in a row become one, or none."""
    axes = [axis % x.ndim for axis in axes]
    if not x.flows:
        return builder.fold(torch.permute, x, tuple(axes))
    source, node = x, x.node
    assert node is not None
    if node.target is torch.permute and isinstance(node.args[0], torch.fx.Node):
        earlier = [int(str(axis)) for axis in _as_list(node.args[1])]
        axes = [earlier[axis] for axis in axes]
        inverse = [earlier.index(axis) for axis in range(len(earlier))]
        first, second = (sample.permute(inverse) for sample in x.samples)
        source = Value((first, second), node.args[0], x.parts)
    if axes == list(range(len(axes))):
        return source
    return builder.call(torch.permute, source, tuple(axes), path=path)


def expand(builder: GraphBuilder, x: Value, shape: Value, path: str) -> Value:
    """Repeat a value along axes of length 1, to a shape that is broadcast with its own."""
    if not x.flows:
        return builder.fold(lambda t, s: t.expand(broadcast(t.shape, list_ints(s))), x, shape)
    wanted = [list_ints(numbers) for numbers in shape.samples]
    if builder.static_batch is not None and shape.is_constant:
        wanted = [_skip_batch(x, numbers) for numbers in wanted]
    pairs = zip(x.samples, wanted, strict=True)
    both = [broadcast(sample.shape, numbers) for sample, numbers in pairs]
    own = [1] * (len(both[0]) - x.ndim) + list(x.shape)
    if any(first != second and length == 1 for first, second, length in zip(*both, own, strict=True)):
        raise UnsupportedModel(MIXED)
    if both[0] == list(x.shape):
        return x
    sizes = [-1 if length == size else size for length, size in zip(own, both[0], strict=True)]
    if len(both[0]) > x.ndim:  # an axis in front has no length of its own to keep
        sizes = [*both[0][: len(both[0]) - x.ndim], *sizes[len(both[0]) - x.ndim :]]
    return builder.call(torch.Tensor.expand, x, sizes, path=path)


def broadcast(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """Compute the shape of an elementwise operation on two shapes."""
    length = max(len(first), len(second))
    pairs = zip([1] * (length - len(first)) + [*first], [1] * (length - len(second)) + [*second], strict=True)
    return [two if one == 1 else one for one, two in pairs]


def concatenate(builder: GraphBuilder, values: Sequence[Value], axis: int, path: str) -> Value:
    """Concatenate values along an axis; constants are repeated for each image of the batch."""
    flowing = next((value for value in values if value.flows), None)
    if flowing is None:
        return builder.fold(torch.cat, list(values), axis)
    axis %= flowing.ndim
    batch_axis = flowing.batch_axis
    assert batch_axis is not None
    if axis == batch_axis:
        raise UnsupportedModel(MIXED)
    parts = []
    for value in values:
        if not value.flows:
            row = _find_row(value, batch_axis, builder.static_batch)
            value = builder.expand_rows(row, flowing, batch_axis, path)
        parts.append(value)
    return builder.call(torch.cat, parts, axis, path=path)


def _find_row(value: Value, axis: int, batch: int | None) -> Value:
    """Take the row of a constant that is repeated for each image."""
    row = value if value.is_constant and value.shape[axis] == 1 else collapse_rows(value, batch)
    if row is None or row.shape[axis] != 1:
        raise UnsupportedModel(MIXED)
    return row


def _resolve(numbers: list[int], shape: Sequence[int], zero_copies: bool) -> list[int]:
    """Resolve the 0 and -1 of a shape."""
    if zero_copies:
        numbers = [shape[axis] if number == 0 and axis < len(shape) else number for axis, number in enumerate(numbers)]
    total, known = math.prod(shape), math.prod(number for number in numbers if number != -1)
    if numbers.count(-1) > 1 or min(numbers, default=0) < -1 or (known == 0 and -1 in numbers):
        raise UnsupportedOperator(f"A reshape of {list(shape)} to {numbers}.")
    numbers = [total // known if number == -1 else number for number in numbers]
    if math.prod(numbers) != total:
        raise UnsupportedOperator(f"A reshape of {list(shape)} to {numbers}, which holds another count of numbers.")
    return numbers


def _skip_batch(x: Value, numbers: list[int]) -> list[int]:
    """Put 1 in place of the batch's length into a shape to which a value is expanded."""
    assert x.batch_axis is not None
    place = len(numbers) - x.ndim + x.batch_axis
    return [1 if index == place else number for index, number in enumerate(numbers)]


def _as_list(argument: object) -> list[object]:
    assert isinstance(argument, list | tuple)
    return list(argument)
