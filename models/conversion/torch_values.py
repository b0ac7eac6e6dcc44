"""Values of an exported graph that depend on no image: what they are computed from, and what they are."""

from __future__ import annotations

from enum import Enum
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from models.conversion.errors import UnsupportedModel

if TYPE_CHECKING:
    from collections.abc import Iterator

aten = torch.ops.aten


class Kind(Enum):
    """The origin of a value: what it is computed from."""

    IMAGES = "images"
    WEIGHTS = "weights"
    """Parameters, but no image."""
    CONSTANT = "constant"
    """Neither; it may differ with the number of images."""


CREATED = {
    aten.new_zeros.default: 0.0,
    aten.new_ones.default: 1.0,
    aten.zeros_like.default: 0.0,
    aten.ones_like.default: 1.0,
}
"""Operators that take no more of a tensor than its shape and type → the value that they fill with."""
FILLED = {aten.new_full.default, aten.full_like.default}
"""Such operators that are told the value."""


class Values:
    """The kinds of all values of an exported graph, and the values that depend on no image."""

    sizes = {aten.sym_size.int}
    """Operators that read the size of a tensor."""

    def __init__(self, exported: fx.GraphModule) -> None:
        self._exported = exported
        self.kinds: dict[fx.Node, Kind] = {}
        self._known: dict[int, dict[fx.Node, Any]] = {1: {}, 2: {}}
        """Number of images → values."""
        for node in exported.graph.nodes:
            self.kinds[node] = self._find_kind(node)

    def get(self, node: fx.Node) -> Any:
        """Get the value of a node that depends on no image, for a batch of one.

        Raises UnsupportedModel where other images of a batch have another value.
        """
        one = self._compute(node, 1)
        if is_batched(node) and isinstance(one, torch.Tensor):
            both = self._compute(node, 2)
            if not torch.equal(both.reshape(2, *one.shape)[0], both.reshape(2, *one.shape)[1]):
                raise UnsupportedModel(
                    "The network computes something else for the first image of a batch than for the second. "
                    "Export it as ONNX, and send that file."
                )
        return one

    def _find_kind(self, node: fx.Node) -> Kind:
        if node.op == "placeholder":
            return Kind.IMAGES
        if node.op == "get_attr":
            is_parameter = isinstance(attrgetter(str(node.target))(self._exported), nn.Parameter)
            return Kind.WEIGHTS if is_parameter else Kind.CONSTANT
        if node.target in self.sizes or node.target in CREATED or node.target in FILLED:
            return Kind.CONSTANT
        kinds = {self.kinds[parent] for parent in node.all_input_nodes}
        return next((kind for kind in (Kind.IMAGES, Kind.WEIGHTS) if kind in kinds), Kind.CONSTANT)

    def _compute(self, node: fx.Node, images: int) -> Any:
        """Compute a value for a batch of this many images, and all that it is computed from."""
        known = self._known[images]
        for needed in _in_order(node, known):
            known[needed] = self._run(needed, images)
        return known[node]

    def _run(self, node: fx.Node, images: int) -> Any:
        example = node.meta.get("val")
        if isinstance(example, int | torch.SymInt):
            return evaluate(example, images)
        if node.op == "get_attr":
            return attrgetter(str(node.target))(self._exported)
        if node.target in CREATED or node.target in FILLED:
            shape = [evaluate(side, images) for side in example.shape]  # type: ignore[union-attr]
            value = CREATED[node.target] if node.target in CREATED else node.args[-1]
            return torch.full(shape, value, dtype=example.dtype)  # type: ignore[union-attr, arg-type]
        known = self._known[images]
        arguments = fx.node.map_arg((node.args, node.kwargs), lambda parent: known[parent])
        assert callable(node.target)
        return node.target(*arguments[0], **arguments[1])


def _in_order(node: fx.Node, known: dict[fx.Node, Any]) -> Iterator[fx.Node]:
    """List what is not known yet of a node and all that it is computed from, in the order of computation."""
    waiting = [node]
    while waiting:
        last = waiting[-1]
        is_leaf = (
            isinstance(last.meta.get("val"), int | torch.SymInt) or last.target in CREATED or last.target in FILLED
        )
        missing = [] if is_leaf else [parent for parent in last.all_input_nodes if parent not in known]
        if missing:
            waiting += missing
            continue
        waiting.pop()
        if last not in known:
            yield last


def evaluate(size: int | torch.SymInt, images: int) -> int:
    """Evaluate a size for a batch of this many images."""
    if isinstance(size, int):
        return size
    expression = size.node.expr
    return int(expression.subs(dict.fromkeys(expression.free_symbols, images)))


def count_batch(size: int | torch.SymInt) -> int | None:
    """Count how many times the number of images a size is; None if it is no multiple."""
    times = evaluate(size, 1)
    return times if all(evaluate(size, images) == times * images for images in (2, 3, 7)) else None


def is_batched(value: fx.Node | int | torch.SymInt) -> bool:
    """Tell whether a size, or the shape of a tensor, differs with the number of images."""
    example = value.meta.get("val") if isinstance(value, fx.Node) else value
    if isinstance(example, torch.SymInt):
        return bool(example.node.expr.free_symbols)
    if isinstance(example, torch.Tensor):
        return any(is_batched(side) for side in example.shape)
    return False
