"""ONNX's reductions along axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from models.conversion.errors import UnsupportedModel, UnsupportedOperator
from models.conversion.shapes import MIXED
from models.conversion.values import merge_samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.conversion.graph_builder import GraphBuilder
    from models.conversion.onnx.operator import Converter, Operator
    from models.conversion.values import Value


def find_axes(operator: Operator) -> list[int] | None:
    """Find the axes of a reduction, an attribute or an input; None if there are none to reduce."""
    given = operator.ints_at(1, "axes")
    if not given:
        return None if operator.get_int("noop_with_empty_axes") else list(range(operator.x.ndim))
    return sorted(axis % operator.x.ndim for axis in given)


def reduction(function: Callable[[GraphBuilder, Value, list[int], bool, str], Value]) -> Converter:
    """Convert an operator that reduces axes."""

    def convert(builder: GraphBuilder, operator: Operator) -> Value:
        axes = find_axes(operator)
        if axes is None:
            return operator.x
        if operator.x.flows and operator.x.batch_axis in axes:
            raise UnsupportedModel(MIXED)
        return function(builder, operator.x, axes, bool(operator.get_int("keepdims", 1)), operator.path)

    return convert


def reduce_by(function: Callable[..., Any]) -> Converter:
    """Convert into a function of a value, axes and whether they are kept."""
    return reduction(lambda builder, x, axes, keep, path: builder.call(function, x, axes, keep, path=path))


def _average(builder: GraphBuilder, x: Value, axes: list[int], keep: bool, path: str) -> Value:
    if not x.samples[0].is_floating_point():  # of sizes: integers are divided towards zero
        numbers = builder.fold(torch.sum, x, axes, keep)
        counts = [torch.Size([sample.shape[axis] for axis in axes]).numel() for sample in x.samples]
        pairs = zip(numbers.samples, counts, strict=True)
        return merge_samples([torch.div(total, count, rounding_mode="trunc") for total, count in pairs])
    return builder.call(torch.mean, x, axes, keep, path=path)


def _multiply(builder: GraphBuilder, x: Value, axes: list[int], keep: bool, path: str) -> Value:
    for axis in reversed(axes):
        x = builder.call(torch.prod, x, axis, keep, path=path)
    return x


def _measure(order: int) -> Converter:
    def convert(builder: GraphBuilder, x: Value, axes: list[int], keep: bool, path: str) -> Value:
        return builder.call(torch.linalg.vector_norm, x, order, axes, keep, path=path)

    return reduction(convert)


def _sum_squares(builder: GraphBuilder, x: Value, axes: list[int], keep: bool, path: str) -> Value:
    return builder.call(torch.sum, builder.call(torch.square, x, path=path), axes, keep, path=path)


def _log_sum(builder: GraphBuilder, x: Value, axes: list[int], keep: bool, path: str) -> Value:
    return builder.call(torch.log, builder.call(torch.sum, x, axes, keep, path=path), path=path)


def find_extreme(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert ArgMax and ArgMin, which take the first of equal elements."""
    if operator.get_int("select_last_index"):
        raise UnsupportedOperator("The last of several largest elements.")
    axis, keep = operator.get_int("axis") % operator.x.ndim, bool(operator.get_int("keepdims", 1))
    function = torch.argmax if operator.kind == "ArgMax" else torch.argmin
    return builder.call(function, operator.x, axis, keep, path=operator.path)


def accumulate(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert CumSum."""
    axis = (operator.ints_at(1, "axis") or [0])[0]
    if operator.get_int("exclusive") or operator.get_int("reverse"):
        raise UnsupportedOperator("A cumulative sum that is exclusive or reversed.")
    return builder.call(torch.cumsum, operator.x, axis, path=operator.path)


OPERATORS: dict[str, Converter] = {
    "ArgMax": find_extreme,
    "ArgMin": find_extreme,
    "CumSum": accumulate,
    "ReduceL1": _measure(1),
    "ReduceL2": _measure(2),
    "ReduceLogSum": reduction(_log_sum),
    "ReduceLogSumExp": reduce_by(torch.logsumexp),
    "ReduceMax": reduce_by(torch.amax),
    "ReduceMean": reduction(_average),
    "ReduceMin": reduce_by(torch.amin),
    "ReduceProd": reduction(_multiply),
    "ReduceSum": reduce_by(torch.sum),
    "ReduceSumSquare": reduction(_sum_squares),
}
