"""Values of a graph that is being converted, each known for two sizes of batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import fx

BATCHES = (2, 3)
"""Sizes of batch that every value is known for: dimensions that agree are numbers, those that differ are the batch."""


@dataclass(frozen=True, eq=False)
class Value:
    """A value of a graph: a constant, an array that depends on nothing but the size of the batch, or a flowing one.

    A value *flows* if it depends on the images. It then has a node, and its samples are on the meta device: they have
    shapes and types, and no numbers.
    """

    samples: tuple[torch.Tensor, torch.Tensor]
    """The value for each of `BATCHES`; of a constant, the same tensor twice."""
    node: fx.Node | None = None
    """The node that computes it, if it flows."""
    parts: int = 1
    """The number of parts that the axis of the batch has beyond it: L of (L·B, …), 1 of (B·L, …)."""

    @classmethod
    def constant(cls, value: torch.Tensor) -> Value:
        """Make a constant."""
        return cls((value, value))

    @property
    def flows(self) -> bool:
        """Tell whether the value depends on the images."""
        return self.node is not None

    @property
    def is_constant(self) -> bool:
        """Tell whether the value is the same whatever the images are, and how many."""
        return self.node is None and self.samples[0] is self.samples[1]

    @property
    def tensor(self) -> torch.Tensor:
        """The constant."""
        assert self.is_constant
        return self.samples[0]

    @property
    def shape(self) -> torch.Size:
        """The shape for the smaller batch."""
        return self.samples[0].shape

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self.samples[0].ndim

    @property
    def batch_axis(self) -> int | None:
        """The first axis whose length depends on the size of the batch, if there is one."""
        pairs = zip(self.samples[0].shape, self.samples[1].shape, strict=True)
        return next((axis for axis, (first, second) in enumerate(pairs) if first != second), None)

    def shape_at(self, batch: int) -> list[int]:
        """Compute the shape for another size of batch; each dimension is a multiple of it, or does not depend on it."""
        pairs = zip(self.samples[0].shape, self.samples[1].shape, strict=True)
        return [first + (second - first) * (batch - BATCHES[0]) for first, second in pairs]

    def to_ints(self) -> list[int]:
        """Convert a constant into a list of integers."""
        return list_ints(self.tensor)


def list_ints(tensor: torch.Tensor) -> list[int]:
    """List the numbers of a tensor as integers."""
    return [int(number) for number in tensor.reshape(-1).tolist()]


def merge_samples(samples: list[torch.Tensor]) -> Value:
    """Make a value that does not flow: a constant if both samples are equal."""
    first, second = samples
    is_same = first.shape == second.shape and first.dtype == second.dtype and bool(torch.equal(first, second))
    return Value((first, first if is_same else second))


def collapse_rows(value: Value, batch: int | None) -> Value | None:
    """Take one row of a value that holds the same row for each image of a batch; None if it does not.

    The rows are those of the axis that depends on the size of the batch, or, of a constant in a file written for
    `batch` images, of its first axis.
    """
    axis = value.batch_axis
    if axis is None and value.is_constant and batch is not None and value.ndim and value.shape[0] == batch:
        axis = 0
    if axis is None:
        return None
    rows = [sample.narrow(axis, 0, 1) for sample in value.samples]
    repeated = all(
        torch.equal(sample, row.expand_as(sample)) for sample, row in zip(value.samples, rows, strict=True)
    ) and torch.equal(*rows)
    return Value.constant(rows[0]) if repeated else None


def find_values(arguments: Any) -> list[Value]:
    """Find the values in nested tuples and lists of arguments."""
    if isinstance(arguments, Value):
        return [arguments]
    if isinstance(arguments, tuple | list):
        return [value for one in arguments for value in find_values(one)]
    return []
