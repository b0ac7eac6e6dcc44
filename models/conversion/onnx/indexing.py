"""ONNX's operators that choose elements: slices, gathers and masks."""

from __future__ import annotations

import operator as python
from typing import TYPE_CHECKING

import torch

from models.conversion.errors import UnsupportedModel, UnsupportedOperator
from models.conversion.shapes import MIXED, concatenate, reshape_to
from models.conversion.values import Value, list_ints, merge_samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.conversion.graph_builder import GraphBuilder
    from models.conversion.onnx.operator import Converter, Operator


def convert_slice(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Slice, whose numbers are attributes before version 10."""
    x = operator.x
    if operator.opset < 10:
        given = [Value.constant(torch.tensor(operator.get_ints(name) or [])) for name in ("starts", "ends")]
        axes = operator.get_ints("axes")
        steps = None
    else:
        given = [operator.require(1), operator.require(2)]
        axes, steps = operator.ints_at(3, "axes"), operator.ints_at(4, "steps")
    axes = list(range(given[0].shape.numel())) if axes is None else [axis % x.ndim for axis in axes]
    steps = steps or [1] * len(axes)
    for place, axis in enumerate(axes):
        starts, ends = ([list_ints(sample)[place] for sample in value.samples] for value in given)
        x = slice_axis(builder, x, axis, (starts, ends, steps[place]), operator.path)
    return x


def slice_axis(
    builder: GraphBuilder, x: Value, axis: int, bounds: tuple[Sequence[int], Sequence[int], int], path: str
) -> Value:
    """Take a slice of one axis, of which start and end are known for each size of batch, and the step for all."""
    starts, ends, step = bounds
    lengths = [sample.shape[axis] for sample in x.samples]
    triples = zip(starts, ends, lengths, strict=True)
    ranges = [range(*_fit(start, end, step, length)) for start, end, length in triples]
    if all(chosen == range(length) for chosen, length in zip(ranges, lengths, strict=True)):
        return x
    if not x.flows:
        pairs = zip(x.samples, ranges, strict=True)
        return merge_samples(
            [sample.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64)) for sample, chosen in pairs]
        )
    if axis == x.batch_axis:
        written = builder.static_batch
        if written is None or range(*_fit(starts[0], ends[0], step, written)) != range(written):
            raise UnsupportedModel(MIXED)
        return x
    if ranges[0] != ranges[1]:
        raise UnsupportedModel(MIXED)
    return _slice_flowing(builder, x, axis, ranges[0], path)


def _slice_flowing(builder: GraphBuilder, x: Value, axis: int, chosen: range, path: str) -> Value:
    """Take a slice of an axis that is not the batch's."""
    step = chosen.step
    if len(chosen) == 0:
        raise UnsupportedOperator(f"A slice of nothing: axis {axis} has {x.shape[axis]} elements.")
    if step < 0:
        index = Value.constant(torch.tensor(list(chosen)))
        return builder.call(torch.index_select, x, axis, index, path=path, name="slice")
    if step == 1:
        return builder.call(torch.narrow, x, axis, chosen.start, len(chosen), path=path, name="slice")
    index_of_axis = (*[slice(None)] * axis, slice(chosen.start, chosen.stop, step))
    return builder.call(python.getitem, x, index_of_axis, path=path, name="slice")


def _fit(start: int, end: int, step: int, length: int) -> tuple[int, int, int]:
    """Fit a slice into an axis; an end before its beginning means everything, if the step is negative."""
    if step == 0:
        raise UnsupportedOperator("A slice with a step of 0.")
    first, last, _ = slice(start, end, step).indices(length)
    return first, -1 if step < 0 and end < -length else last, step


def gather(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Gather, of rows by constant numbers."""
    x, index = operator.x, operator.require(1)
    axis = operator.get_int("axis") % max(x.ndim, 1)
    if index.flows:
        raise UnsupportedOperator("A gather whose places are computed from the image.")
    if not x.flows:
        return builder.fold(lambda t, i: _gather(t, axis, i), x, index)
    if axis == x.batch_axis:
        return _gather_all(builder, x, index, operator.path)
    if not index.is_constant:
        raise UnsupportedModel(MIXED)
    length = x.shape[axis]
    places = torch.where(index.tensor < 0, index.tensor + length, index.tensor).long()
    if places.numel() == 0 or int(places.min()) < 0 or int(places.max()) >= length:
        raise UnsupportedOperator(f"A gather beyond the {length} elements of axis {axis}.")
    if places.ndim == 0:
        return builder.call(torch.select, x, axis, int(places), path=operator.path, name="gather")
    chosen = x
    if places.reshape(-1).tolist() != list(range(length)):
        index = Value.constant(places.reshape(-1))
        chosen = builder.call(torch.index_select, x, axis, index, path=operator.path, name="gather")
    sizes = [*chosen.shape[:axis], *places.shape, *chosen.shape[axis + 1 :]]
    batch_axis = x.batch_axis or 0
    sizes[batch_axis if batch_axis < axis else batch_axis + places.ndim - 1] = -1
    return reshape_to(builder, chosen, sizes, operator.path)


def _gather(x: torch.Tensor, axis: int, index: torch.Tensor) -> torch.Tensor:
    chosen = x.index_select(axis, (index.reshape(-1) % x.shape[axis]).long())
    return chosen.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


def _gather_all(builder: GraphBuilder, x: Value, index: Value, path: str) -> Value:
    """Convert a gather from the axis of the batch that takes the same elements of each image.

    So torch's exporter writes as_strided: a value of one axis, and numbers (B, …) that go on from image to image.
    """
    length = (x.samples[1].shape[0] - x.samples[0].shape[0]) if x.ndim == 1 else 0
    images = [builder.static_batch] * 2 if index.is_constant and builder.static_batch else [2, 3]
    for sample, count in zip(index.samples, images, strict=True):
        rows = sample.reshape(count, -1) if count and sample.ndim and sample.shape[0] == count else None
        first = torch.arange(count or 0).reshape(-1, 1) * length
        if not length or rows is None or not torch.equal(rows, rows[:1] + first) or int(rows[0].max()) >= length:
            raise UnsupportedModel(MIXED)
    row = index.samples[0][0].reshape(-1)
    parts = reshape_to(builder, x, [-1, length], path)
    if row.tolist() != list(range(length)):
        parts = builder.call(torch.index_select, parts, 1, Value.constant(row), path=path, name="gather")
    return reshape_to(builder, parts, [-1, *index.shape[1:]], path)


def gather_elements(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert GatherElements, of constants alone."""
    x, index = operator.x, operator.require(1)
    if x.flows or index.flows:
        raise UnsupportedOperator("A gather whose places are computed from the image.")
    axis = operator.get_int("axis") % x.ndim
    return builder.fold(lambda t, i: torch.gather(t, axis, i.long() % t.shape[axis]), x, index)


def gather_nd(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert GatherND, of constants alone."""
    x, index = operator.x, operator.require(1)
    if x.flows or index.flows or operator.get_int("batch_dims"):
        raise UnsupportedOperator("A gather whose places are computed from the image.")
    return builder.fold(lambda t, i: t[tuple(i.long().unbind(-1))], x, index)


def scatter_nd(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert ScatterND, of constants, as masks are made, or of a block: x[:, :, 1:, 1:] = y."""
    x, index, update = (operator.require(place) for place in range(3))
    if operator.get_text("reduction", "none") != "none":
        raise UnsupportedOperator("A scatter that adds or multiplies.")
    if not (x.flows or index.flows or update.flows):
        return builder.fold(_scatter, x, index, update)
    if not (x.flows and update.flows and x.batch_axis == update.batch_axis) or index.flows:
        raise UnsupportedOperator("A scatter of values of the image among constants, or the other way round.")
    blocks = [
        _find_block(place, value.shape, into.shape)
        for place, value, into in zip(index.samples, update.samples, x.samples, strict=True)
    ]
    starts = {tuple(start for axis, start in enumerate(block) if axis != x.batch_axis) for block in blocks}
    if len(starts) != 1 or any(block[x.batch_axis or 0] for block in blocks):
        raise UnsupportedModel(MIXED)
    return _replace_block(builder, x, update, blocks[0], operator.path)


def _find_block(index: torch.Tensor, shape: Sequence[int], into: Sequence[int]) -> list[int]:
    """Find where the block begins that an index (*shape, axes) names, one element after another."""
    block = f"A scatter of a value {tuple(shape)} that is no block of the value {tuple(into)}."
    if index.shape != (*shape, len(into)) or index.numel() == 0:
        raise UnsupportedOperator(block)
    rows = torch.where(index < 0, index + torch.tensor(into), index).reshape(-1, len(into))
    steps = torch.cartesian_prod(*(torch.arange(length) for length in shape)).reshape(-1, len(into))
    if not torch.equal(rows, rows[:1] + steps):
        raise UnsupportedOperator(block)
    starts: list[int] = rows[0].tolist()
    return starts


def _replace_block(builder: GraphBuilder, x: Value, update: Value, starts: Sequence[int], path: str) -> Value:
    """Replace the block of a value that begins at these places; the axes are cut one after another."""
    axis = next((axis for axis, length in enumerate(update.shape) if x.shape[axis] != length), None)
    if axis is None:
        return update
    start, length = starts[axis], update.shape[axis]
    end = start + length
    within = builder.call(torch.narrow, x, axis, start, length, path=path, name="scatter")
    parts = [_replace_block(builder, within, update, starts, path)]
    if start:
        parts.insert(0, builder.call(torch.narrow, x, axis, 0, start, path=path, name="scatter"))
    if end < x.shape[axis]:
        parts.append(builder.call(torch.narrow, x, axis, end, x.shape[axis] - end, path=path, name="scatter"))
    return concatenate(builder, parts, axis, path)


def _scatter(x: torch.Tensor, index: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
    return x.clone().index_put(tuple(index.long().unbind(-1)), update)


def find_nonzero(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert NonZero, of constants alone."""
    if operator.x.flows:
        raise UnsupportedOperator("Places that are computed from the image's values.")
    return builder.fold(lambda t: torch.stack(torch.nonzero(t, as_tuple=True)), operator.x)


def take_triangle(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Trilu, the upper or lower triangle of a matrix."""
    diagonal = operator.ints_at(1, "k") or [0]
    function = torch.triu if operator.get_int("upper", 1) else torch.tril
    return builder.call(function, operator.x, diagonal[0], path=operator.path)


OPERATORS: dict[str, Converter] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "NonZero": find_nonzero,
    "ScatterND": scatter_nd,
    "Slice": convert_slice,
    "Trilu": take_triangle,
}
