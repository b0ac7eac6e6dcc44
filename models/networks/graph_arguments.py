"""Arguments of a graph's calls as JSON: its own values as they are, others as an object of one key."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from models.networks.graph_copy import MAX_DEPTH, GraphError
from models.networks.graph_operations import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def encode(argument: Any) -> Any:
    """Encode an argument; nodes by their names."""
    if isinstance(argument, list):
        return [encode(one) for one in argument]
    if isinstance(argument, float) and not math.isfinite(argument):
        return {"float": str(argument)}
    for kind, of in ENCODERS.items():
        if isinstance(argument, kind):
            return of(argument)
    return argument


ENCODERS: dict[type, Callable[[Any], Any]] = {
    fx.Node: lambda node: {"node": node.name},
    tuple: lambda values: {"tuple": [encode(one) for one in values]},
    slice: lambda value: {"slice": [encode(one) for one in (value.start, value.stop, value.step)]},
    torch.dtype: lambda dtype: {"dtype": DTYPE_NAMES[dtype]},
    type(...): lambda _: {"ellipsis": True},
}


def decode(argument: Any, nodes: Mapping[str, fx.Node], depth: int = 0) -> Any:
    """Decode what `encode` has encoded; `nodes` are those that exist so far. Raises GraphError."""
    if depth > MAX_DEPTH:
        raise GraphError(f"An argument has lists nested deeper than {MAX_DEPTH}.")
    if isinstance(argument, list):
        return [decode(one, nodes, depth + 1) for one in argument]
    if not isinstance(argument, dict):
        return argument
    try:
        ((kind, value),) = argument.items()
        return DECODERS[kind](value, nodes, depth + 1)
    except (LookupError, TypeError, ValueError) as error:
        raise GraphError(f"An argument is damaged, or is a node that comes later: {argument!r:.100}.") from error


DECODERS: dict[str, Callable[[Any, Mapping[str, fx.Node], int], Any]] = {
    "node": lambda name, nodes, _: nodes[name],
    "tuple": lambda values, nodes, depth: tuple(decode(list(values), nodes, depth)),
    "slice": lambda parts, nodes, depth: _decode_slice(*decode(parts, nodes, depth)),
    "dtype": lambda name, *_: DTYPES[name],
    "float": lambda text, *_: {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}[text],
    "ellipsis": lambda *_: ...,
}


def _decode_slice(start: Any, stop: Any, step: Any) -> slice:
    return slice(start, stop, step)
