"""ONNX's operators on shapes: reshapes, transposes, expansions, concatenations, and sizes as values."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch

from models.conversion.errors import UnsupportedModel, UnsupportedOperator
from models.conversion.onnx.operator import shape_value
from models.conversion.shapes import MIXED, concatenate, expand, permute, reshape, reshape_to
from models.conversion.values import Value, list_ints, merge_samples

if TYPE_CHECKING:
    from models.conversion.graph_builder import GraphBuilder
    from models.conversion.onnx.operator import Converter, Operator


def get_shape(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Shape, of all axes or of some in a row."""
    shape = shape_value(operator.x)
    ends = operator.get_int("end", operator.x.ndim)
    part = slice(operator.get_int("start"), ends)
    return merge_samples([sample[part].clone() for sample in shape.samples])


def get_numel(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Size."""
    return merge_samples([torch.tensor(sample.numel()) for sample in operator.x.samples])


def convert_reshape(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Reshape."""
    zero_copies = not operator.get_int("allowzero")
    return reshape(builder, operator.x, operator.require(1), operator.path, zero_copies=zero_copies)


def flatten(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Flatten, whose result has two axes."""
    x, axis = operator.x, operator.get_int("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    if not x.flows:
        return builder.fold(lambda t: t.reshape(math.prod(t.shape[:axis]), -1), x)
    if axis == 0:
        raise UnsupportedModel(MIXED)
    both = [[math.prod(sample.shape[:axis]), math.prod(sample.shape[axis:])] for sample in x.samples]
    sizes = [first if first == second else -1 for first, second in zip(*both, strict=True)]
    return reshape_to(builder, x, sizes, operator.path)


def transpose(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Transpose."""
    axes = operator.get_ints("perm") or list(reversed(range(operator.x.ndim)))
    return permute(builder, operator.x, axes, operator.path)


def convert_expand(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Expand."""
    return expand(builder, operator.x, operator.require(1), operator.path)


def tile(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Tile."""
    repeats = operator.require(1)
    if not operator.x.flows:
        return builder.fold(lambda t, r: t.repeat(list_ints(r)), operator.x, repeats)
    if not repeats.is_constant or repeats.to_ints()[operator.x.batch_axis or 0] != 1:
        raise UnsupportedModel(MIXED)
    return builder.call(torch.tile, operator.x, tuple(repeats.to_ints()), path=operator.path)


def squeeze(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Squeeze; without axes, of all that have length 1, but not of the batch."""
    x, given = operator.x, operator.ints_at(1, "axes")
    if given is None:
        given = [axis for axis, length in enumerate(x.shape) if length == 1]
    axes = sorted(axis % x.ndim for axis in given) if x.ndim else []
    if not x.flows:
        return builder.fold(lambda t: t.reshape([n for axis, n in enumerate(t.shape) if axis not in axes]), x)
    if x.batch_axis in axes:
        raise UnsupportedModel(
            "This network takes the axis of the batch away, as it is written for a single image. Export it so that "
            "every value keeps the batch as an axis."
        )
    return builder.call(torch.squeeze, x, tuple(axes), path=operator.path) if axes else x


def unsqueeze(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Unsqueeze, whose axes are those of the result."""
    x, axes = operator.x, operator.ints_at(1, "axes") or []
    for axis in sorted(axis % (operator.x.ndim + len(axes)) for axis in axes):
        x = builder.call(torch.unsqueeze, x, axis, path=operator.path)
    return x


def convert_concat(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Concat; what holds no numbers is left out."""
    values = [operator.require(index) for index in range(len(operator.inputs))]
    axis = operator.get_int("axis")
    filled = [value for value in values if value.flows or value.shape.numel()] or values[:1]
    return concatenate(builder, filled, axis, operator.path)


def split(builder: GraphBuilder, operator: Operator) -> list[Value]:
    """Convert Split, into parts of given sizes or of equal ones."""
    x = operator.x
    axis = operator.get_int("axis") % x.ndim
    sizes = operator.ints_at(1, "split")
    if axis == x.batch_axis:
        raise UnsupportedModel(MIXED)
    if not sizes:
        part = -(-x.shape[axis] // (operator.get_int("num_outputs") or operator.outputs))
        starts = range(0, x.shape[axis], part)
        sizes = [min(part, x.shape[axis] - start) for start in starts]
    if sum(sizes) != x.shape[axis] or min(sizes) < 0:
        raise UnsupportedOperator(f"A split of {x.shape[axis]} into {sizes}.")
    starts_at = [sum(sizes[:index]) for index in range(len(sizes))]
    return [
        builder.call(torch.narrow, x, axis, start, size, path=operator.path, name="split")
        for start, size in zip(starts_at, sizes, strict=True)
    ]


def fill(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert ConstantOfShape."""
    value = torch.as_tensor(operator.attributes.get("value", torch.zeros(1))).reshape(-1)[:1]
    if operator.x.flows:
        raise UnsupportedOperator("A constant whose shape is computed from the image.")
    return builder.fold(lambda shape: value.expand(list_ints(shape)).clone(), operator.x)


def count(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Range."""
    values = [operator.require(index) for index in range(3)]
    if any(value.flows for value in values):
        raise UnsupportedOperator("A range whose ends are computed from the image.")
    return builder.fold(_arange, *values)


def mark(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert OneHot, of positions that do not depend on the images: torch's repeat_interleave is exported by it."""
    positions, depth, levels = (operator.require(index) for index in range(3))
    if positions.flows or depth.flows or levels.flows:
        raise UnsupportedOperator("A one-hot vector of what is computed from the image.")
    axis = int(operator.attributes.get("axis", -1))
    return builder.fold(partial(_one_hot, axis), positions, depth, levels)


def _one_hot(axis: int, positions: torch.Tensor, depth: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Make the vectors; a negative position counts from the end, one that is none gives the level of the others."""
    count = int(depth.reshape(-1)[0])
    numbers = positions.to(torch.int64)
    wrapped = torch.where(numbers < 0, numbers + count, numbers)
    is_there = wrapped.unsqueeze(-1) == torch.arange(count)
    return torch.where(is_there, levels[1], levels[0]).movedim(-1, axis)


def _arange(start: torch.Tensor, end: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    return torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


OPERATORS: dict[str, Converter] = {
    "Concat": convert_concat,
    "ConstantOfShape": fill,
    "Expand": convert_expand,
    "Flatten": flatten,
    "OneHot": mark,
    "Range": count,
    "Reshape": convert_reshape,
    "Shape": get_shape,
    "Size": get_numel,
    "Split": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
