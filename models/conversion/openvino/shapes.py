"""OpenVINO's operators on shapes: transposes, reshapes, slices, reductions, concatenations."""

from __future__ import annotations

from operator import getitem
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from models.conversion.padding import pad
from models.conversion.pooling import pool_global
from models.conversion.shapes import concatenate, expand, permute, reshape, reshape_to
from models.conversion.values import Value, merge_samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.conversion.openvino.operator import Operator

REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceMax": torch.amax,
    "ReduceMean": torch.mean,
    "ReduceMin": torch.amin,
    "ReduceSum": torch.sum,
}
"""Reductions of several axes at once."""
SHUFFLES = {"DepthToSpace": functional.pixel_shuffle, "SpaceToDepth": functional.pixel_unshuffle}


def transpose(operator: Operator) -> Value:
    """Put axes in another order."""
    return permute(operator.builder, operator.inputs[0], operator.require_ints(1), operator.path)


def apply_reshape(operator: Operator) -> Value:
    """Reshape; -1 stands for what is left, and 0, if so said, for the length as it was."""
    x, shape = operator.inputs
    zero_copies = bool(operator.attributes["special_zero"])
    return reshape(operator.builder, x, shape, operator.path, zero_copies=zero_copies)


def squeeze(operator: Operator) -> Value:
    """Drop axes of length 1."""
    x = operator.inputs[0]
    if len(operator.inputs) > 1:
        axes = operator.axes(1, x.ndim)
    else:
        axes = [axis for axis, length in enumerate(x.shape) if length == 1 and axis != x.batch_axis]
    lengths = [length for axis, length in enumerate(x.shape) if axis not in axes]
    return _reshape(operator, x, lengths, [axis for axis in range(x.ndim) if axis not in axes])


def unsqueeze(operator: Operator) -> Value:
    """Insert axes of length 1."""
    x = operator.inputs[0]
    ndim = x.ndim + len(operator.require_ints(1))
    axes = operator.axes(1, ndim)
    kept = iter(range(x.ndim))
    places = [None if axis in axes else next(kept) for axis in range(ndim)]
    return _reshape(operator, x, [1 if place is None else x.shape[place] for place in places], places)


def _reshape(operator: Operator, x: Value, lengths: list[int], origins: list[Any]) -> Value:
    """Reshape to lengths, each of which comes from an axis of the value, or from none."""
    if not x.flows:
        samples = [
            sample.reshape([1 if axis is None else sample.shape[axis] for axis in origins]) for sample in x.samples
        ]
        return merge_samples(samples)
    sizes = [-1 if axis == x.batch_axis else length for axis, length in zip(origins, lengths, strict=True)]
    return reshape_to(operator.builder, x, sizes, operator.path)


def join(operator: Operator) -> Value:
    """Concatenate values."""
    return concatenate(operator.builder, operator.inputs, operator.attributes["axis"], operator.path)


def read_shape(operator: Operator) -> Value:
    """Read a value's shape."""
    return merge_samples([torch.tensor(list(sample.shape)) for sample in operator.inputs[0].samples])


def broadcast(operator: Operator) -> Value:
    """Repeat a value along axes of length 1."""
    if str(operator.attributes.get("mode", "numpy")).lower() == "explicit":
        raise operator.unsupported("names the axes that it repeats")
    return expand(operator.builder, operator.inputs[0], operator.inputs[1], operator.path)


def gather(operator: Operator) -> Value:
    """Take parts of an axis by constant places."""
    x, places = operator.inputs[0], operator.inputs[1]
    (axis,) = operator.axes(2, x.ndim)
    if operator.attributes.get("batch_dims", 0) or not places.is_constant:
        raise operator.unsupported("takes values from places that are computed")
    numbers = torch.where(places.tensor < 0, places.tensor + x.shape[axis], places.tensor).long()
    if not x.flows:
        return operator.builder.fold(lambda t: _take(t, axis, numbers), x)
    if axis == x.batch_axis:
        raise operator.unsupported("takes some of the images of a batch")
    if numbers.ndim == 0:
        return operator.builder.call(torch.select, x, axis, int(numbers), path=operator.path)
    taken = operator.builder.call(torch.index_select, x, axis, Value.constant(numbers.reshape(-1)), path=operator.path)
    if numbers.ndim == 1:
        return taken
    lengths = [*taken.shape[:axis], *numbers.shape, *taken.shape[axis + 1 :]]
    origins = [*range(axis), *[None] * numbers.ndim, *range(axis + 1, x.ndim)]
    return _reshape(operator, taken, lengths, origins)


def _take(t: torch.Tensor, axis: int, numbers: torch.Tensor) -> torch.Tensor:
    taken = t.index_select(axis, numbers.reshape(-1).to(t.device))
    return taken.reshape([*t.shape[:axis], *numbers.shape, *t.shape[axis + 1 :]])


def slice_strided(operator: Operator) -> Value:
    """Slice by beginnings, ends and steps of the first axes, as TensorFlow's StridedSlice."""
    attributes, x = operator.attributes, operator.inputs[0]
    begin, end = operator.require_ints(1), operator.require_ints(2)
    steps = operator.require_ints(3) if len(operator.inputs) > 3 else [1] * len(begin)
    masks = {
        name: [*attributes.get(name, []), *[0] * len(begin)]
        for name in ("begin_mask", "end_mask", "new_axis_mask", "shrink_axis_mask", "ellipsis_mask")
    }
    if any(masks["ellipsis_mask"]):
        raise operator.unsupported("slices with an ellipsis")
    axis, dropped, added = 0, [], []
    for index, step in enumerate(steps):
        if masks["new_axis_mask"][index]:
            added.append(index)
            continue
        if masks["shrink_axis_mask"][index]:
            x = _cut(operator, x, axis, begin[index], begin[index] + 1 or None, 1)
            dropped.append(axis)
        else:
            start = None if masks["begin_mask"][index] else begin[index]
            stop = None if masks["end_mask"][index] else end[index]
            x = _cut(operator, x, axis, start, stop, step)
        axis += 1
    return _drop_and_add(operator, x, dropped, added)


def _drop_and_add(operator: Operator, x: Value, dropped: list[int], added: list[int]) -> Value:
    origins: list[Any] = [axis for axis in range(x.ndim) if axis not in dropped]
    for index in added:
        origins.insert(index, None)
    if origins == list(range(x.ndim)):
        return x
    return _reshape(operator, x, [1 if axis is None else x.shape[axis] for axis in origins], origins)


def slice_axes(operator: Operator) -> Value:
    """Slice named axes."""
    x = operator.inputs[0]
    begin, end, steps = (operator.require_ints(index) for index in (1, 2, 3))
    axes = operator.axes(4, x.ndim) if len(operator.inputs) > 4 else list(range(len(begin)))
    for axis, start, stop, step in zip(axes, begin, end, steps, strict=True):
        x = _cut(operator, x, axis, start, stop, step)
    return x


def _cut(operator: Operator, x: Value, axis: int, start: int | None, stop: int | None, step: int) -> Value:
    """Slice one axis; backwards, it is flipped first."""
    length = x.shape[axis]
    places = range(length)[slice(start, stop, step)]
    if places == range(length):
        return x
    if not x.flows:
        if step > 0:
            return operator.builder.fold(getitem, x, (slice(None),) * axis + (slice(start, stop, step),))
        return operator.builder.fold(
            lambda t: _take(t, axis, torch.tensor(list(range(t.shape[axis])[start:stop:step]))), x
        )
    if axis == x.batch_axis:
        if start in (None, 0) and (stop is None or stop >= length) and step == 1:
            return x
        raise operator.unsupported("takes some of the images of a batch")
    if step < 0:
        x = operator.builder.call(torch.flip, x, [axis], path=operator.path)
        places = range(length - 1 - places[0], length, -step)[: len(places)]
        if places == range(length):
            return x
    chosen = (slice(None),) * axis + (slice(places.start, places.stop, places.step),)
    return operator.builder.call(getitem, x, chosen, path=operator.path)


def reduce(operator: Operator) -> Value:
    """Reduce axes to their mean, sum or extreme; the mean of height and width is a pooling."""
    x, keeps = operator.inputs[0], bool(operator.attributes["keep_dims"])
    axes = sorted(operator.axes(1, x.ndim))
    if operator.kind in ("ReduceMean", "ReduceMax") and x.flows and x.ndim == 4 and axes == [2, 3]:
        maps = pool_global(operator.builder, x, operator.path, takes_maximum=operator.kind == "ReduceMax")
        return maps if keeps else operator.builder.call(torch.flatten, maps, 1, path=operator.path)
    return operator.builder.call(REDUCTIONS[operator.kind], x, axes, keeps, path=operator.path)


def reduce_product(operator: Operator) -> Value:
    """Multiply the numbers along axes, of sizes."""
    x, keeps = operator.inputs[0], bool(operator.attributes["keep_dims"])
    for axis in sorted(operator.axes(1, x.ndim), reverse=True):
        x = operator.builder.call(torch.prod, x, axis, keeps, path=operator.path)
    return x


def reduce_norm(operator: Operator) -> Value:
    """Compute the sum of absolutes, or the root of the sum of squares, along axes."""
    x, keeps = operator.inputs[0], bool(operator.attributes["keep_dims"])
    order = 1 if operator.kind == "ReduceL1" else 2
    axes = sorted(operator.axes(1, x.ndim))
    return operator.builder.call(torch.linalg.vector_norm, x, order, axes, keeps, path=operator.path)


def normalize_length(operator: Operator) -> Value:
    """Divide by the length of the vector along axes."""
    x = operator.inputs[0]
    axes = sorted(operator.axes(1, x.ndim))
    epsilon = operator.attributes["eps"]
    squares = operator.builder.call(
        torch.sum, operator.builder.call(torch.square, x, path=operator.path), axes, True, path=operator.path
    )
    if str(operator.attributes["eps_mode"]).lower() == "add":
        bounded = operator.builder.call(torch.add, squares, epsilon, path=operator.path)
    else:
        bounded = operator.builder.call(torch.clamp, squares, epsilon, None, path=operator.path)
    return operator.builder.call(
        torch.div, x, operator.builder.call(torch.sqrt, bounded, path=operator.path), path=operator.path
    )


def split(operator: Operator) -> list[Value]:
    """Split an axis into parts of equal length, or of given lengths."""
    x = operator.inputs[0]
    (axis,) = operator.axes(1, x.ndim)
    lengths = (
        operator.require_ints(2)
        if operator.kind == "VariadicSplit"
        else [x.shape[axis] // operator.num_outputs] * operator.num_outputs
    )
    known = sum(length for length in lengths if length >= 0)
    lengths = [x.shape[axis] - known if length < 0 else length for length in lengths]
    ends = [sum(lengths[: index + 1]) for index in range(len(lengths))]
    return [_cut(operator, x, axis, end - length, end, 1) for length, end in zip(lengths, ends, strict=True)]


def apply_pad(operator: Operator) -> Value:
    """Pad or crop axes."""
    x = operator.inputs[0]
    before, after = operator.require_ints(1), operator.require_ints(2)
    fill = (
        float(operator.inputs[3].tensor.item()) if len(operator.inputs) > 3 and operator.inputs[3].is_constant else 0.0
    )
    mode = str(operator.attributes["pad_mode"]).lower()
    return pad(operator.builder, x, before, after, operator.path, mode=mode, value=fill)


def multiply_indexed(operator: Operator) -> Value:
    """Sum products over shared indices (Einstein's notation)."""
    equation = str(operator.attributes["equation"])
    return operator.builder.call(torch.einsum, equation, *operator.inputs, path=operator.path)


def tile(operator: Operator) -> Value:
    """Repeat a value along its axes."""
    x, counts = operator.inputs
    if x.flows:
        numbers = operator.require_ints(1)
        return x if set(numbers) == {1} else operator.builder.call(torch.tile, x, numbers, path=operator.path)
    return operator.builder.fold(lambda t, n: t.tile([int(number) for number in n]), x, counts)


def shuffle(operator: Operator) -> Value:
    """Move blocks of pixels into channels, or back."""
    if "depth_first" not in str(operator.attributes["mode"]).lower():
        raise operator.unsupported("orders the channels of a block first")
    return operator.builder.call(
        SHUFFLES[operator.kind], operator.inputs[0], operator.attributes["block_size"], path=operator.path
    )


def count_up(operator: Operator) -> Value:
    """List numbers from a first one to a last one."""
    return operator.builder.fold(
        lambda *numbers: torch.arange(*(number.item() for number in numbers)), *operator.inputs
    )


SHAPES: dict[str, Callable[[Operator], Value | list[Value]]] = {
    **dict.fromkeys(REDUCTIONS, reduce),
    **dict.fromkeys(SHUFFLES, shuffle),
    **dict.fromkeys(("ReduceL1", "ReduceL2"), reduce_norm),
    **dict.fromkeys(("Split", "VariadicSplit"), split),
    "Broadcast": broadcast,
    "Concat": join,
    "Einsum": multiply_indexed,
    "Gather": gather,
    "NormalizeL2": normalize_length,
    "Pad": apply_pad,
    "Range": count_up,
    "ReduceProd": reduce_product,
    "Reshape": apply_reshape,
    "ShapeOf": read_shape,
    "Slice": slice_axes,
    "Squeeze": squeeze,
    "StridedSlice": slice_strided,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
