"""Elementwise arithmetic of two values, of which one may be a constant."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from models.conversion.values import Value, collapse_rows

if TYPE_CHECKING:
    from models.conversion.graph_builder import GraphBuilder

Operation = Callable[..., Any]
"""A function of two tensors."""

SWAPPED: dict[Operation, Operation] = {
    torch.add: torch.add,
    torch.mul: torch.mul,
    torch.maximum: torch.maximum,
    torch.minimum: torch.minimum,
    torch.eq: torch.eq,
    torch.gt: torch.lt,
    torch.lt: torch.gt,
    torch.ge: torch.le,
    torch.le: torch.ge,
}
"""Operations that give the same with their operands exchanged, and the operation that does it."""

WITH_NUMBERS = {torch.add, torch.sub, torch.mul, torch.div, torch.pow, torch.eq, torch.gt, torch.lt, torch.ge, torch.le}
"""Operations that take a plain number as their second operand."""


def match_batch(builder: GraphBuilder, constant: Value, like: Value) -> Value:
    """Reduce a constant that is written for a batch of several images to one row, which is broadcast."""
    batch, axis = builder.static_batch, like.batch_axis
    if batch in (None, 1) or not constant.is_constant or constant.ndim != like.ndim or axis is None:
        return constant
    if constant.shape[axis] != batch:
        return constant
    return collapse_rows(constant, batch) or constant


def apply_binary(builder: GraphBuilder, function: Operation, x: Value, y: Value, path: str) -> Value:
    """Compute an elementwise operation of two values; a constant of one number becomes part of the call."""
    if not x.flows and not y.flows:
        return builder.fold(function, x, y)
    if not x.flows:
        swapped = SWAPPED.get(function)
        if swapped is not None:
            return apply_binary(builder, swapped, y, x, path)
        x = match_batch(builder, x, y)
        if x.is_constant and x.ndim == 0:
            x = Value.constant(x.tensor.reshape(1))
        return builder.call(function, x, y, path=path)
    y = match_batch(builder, y, x) if not y.flows else y
    if y.is_constant and y.tensor.numel() == 1 and y.ndim <= x.ndim and function in WITH_NUMBERS:
        return builder.call(function, x, y.tensor.item(), path=path)
    return builder.call(function, x, y, path=path)
