"""Rows of several shards, numbered 0, 1, 2, … in the order in which this process read them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from models.features.shard import RECORD, grow_array, take_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.features.shard import MemoryShard, Shard


_RAW = np.dtype(f"V{RECORD.itemsize}")
"""A record as raw bytes: numpy copies the fields of a structured type one by one."""
_UNKNOWN, _SOUND, _DAMAGED = 0, 1, 2


class ShardedRows:
    """Numbers the rows of shards; a number stays valid, whatever is written or deleted later."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Start without rows; each will be an array of `shape` and `dtype`."""
        self._shape, self._dtype = shape, dtype
        self._spans: list[tuple[Shard | MemoryShard, int]] = []
        """Consecutive rows of a shard: the shard, and the offset from a row's number to its index in the shard."""
        self._starts = np.empty(0, np.int64)
        """The number of each span's first row."""
        self._numbered: dict[Shard | MemoryShard, int] = {}
        """How many rows of each shard have a number."""
        self._states = np.empty(0, np.uint8)
        """Of each row, whether its checksum was verified: _UNKNOWN, _SOUND or _DAMAGED."""
        self.count = 0

    def add(self, shard: Shard | MemoryShard) -> None:
        """Number the rows of a shard that have no number yet."""
        first = self._numbered.get(shard, 0)
        if shard.count == first:
            return
        span = (shard, first - self.count)
        if not self._spans or self._spans[-1] != span:
            self._spans.append(span)
            self._starts = np.append(self._starts, self.count)
        self.count += shard.count - first
        self._states = grow_array(self._states, self.count)
        self._numbered[shard] = shard.count

    def read_records(self, numbers: np.ndarray) -> np.ndarray:
        """Read the records of rows by their numbers (n,): (n,) of RECORD."""
        records = np.empty(len(numbers), RECORD)
        raw = records.view(_RAW)
        for shard, indices, positions in self._group_by_shard(numbers):
            raw[positions] = take_rows(shard.records.view(_RAW), indices)
        return records

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Read rows by their numbers (n,): (n, *shape)."""
        rows = np.empty((len(numbers), *self._shape), self._dtype)
        for shard, indices, positions in self._group_by_shard(numbers):
            shard.touch()
            rows[positions] = take_rows(shard.rows, indices)
        return rows

    def sum_seconds(self, numbers: np.ndarray) -> float:
        """Sum the seconds that it took to compute rows, by their numbers (n,)."""
        groups = self._group_by_shard(numbers)
        return sum(float(shard.records["seconds"][indices].sum(dtype=float)) for shard, indices, _ in groups)

    def are_sound(self, numbers: np.ndarray) -> np.ndarray:
        """Tell which rows (n,) have the right checksum: (n,) of bool.

        Each row is verified when it is first asked for: a job pays only for the rows that it reads.
        """
        unknown = numbers[self._states[numbers] == _UNKNOWN]
        for shard, indices, positions in self._group_by_shard(unknown):
            self._states[unknown[positions]] = np.where(shard.verify(indices), _SOUND, _DAMAGED)
        sound: np.ndarray = self._states[numbers] == _SOUND
        return sound

    def _group_by_shard(
        self, numbers: np.ndarray
    ) -> Iterator[tuple[Shard | MemoryShard, np.ndarray, np.ndarray | slice]]:
        """Group row numbers by shard: yields the shard, indices in it, and their positions in `numbers`."""
        spans = self._starts.searchsorted(numbers, "right") - 1
        order = None
        if (spans[1:] < spans[:-1]).any():
            # In few bits, so that numpy sorts by radix.
            order = np.argsort(spans.astype(np.min_scalar_type(len(self._spans))), kind="stable")
            spans = spans[order]
        bounds = [0, *(np.flatnonzero(spans[1:] != spans[:-1]) + 1).tolist(), len(spans)]
        for first, end in pairwise(bounds if len(spans) else []):
            shard, offset = self._spans[spans[first]]
            positions = slice(first, end) if order is None else order[first:end]
            yield shard, numbers[positions] + offset, positions
