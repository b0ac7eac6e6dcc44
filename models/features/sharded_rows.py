"""Rows of many shards under running numbers 0, 1, 2, …, in the order in which this process came to know them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from models.features.shard import RECORD, at, with_room

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.features.shard import MemoryShard, Shard


_RAW = np.dtype(f"V{RECORD.itemsize}")
"""A record as mere bytes: numpy copies the fields of others one by one."""
_UNKNOWN, _SOUND, _DAMAGED = 0, 1, 2


class ShardedRows:
    """Numbers the rows of shards; a number stays valid, whatever is written or deleted later."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Rows are arrays of `shape` and `dtype`."""
        self._shape, self._dtype = shape, dtype
        self._spans: list[tuple[Shard | MemoryShard, int]] = []
        """Rows that follow one another in a shard: which shard, and what to add to a number to have the place in it."""
        self._starts = np.empty(0, np.int64)
        """The number of each span's first row."""
        self._numbered: dict[Shard | MemoryShard, int] = {}
        """Of each shard, how many of its rows have a number."""
        self._states = np.empty(0, np.uint8)
        """Of each row, whether it is as it was written."""
        self.count = 0

    def add(self, shard: Shard | MemoryShard) -> None:
        """Number those rows of a shard that have no number yet."""
        place = self._numbered.get(shard, 0)
        if shard.count == place:
            return
        span = (shard, place - self.count)
        if not self._spans or self._spans[-1] != span:
            self._spans.append(span)
            self._starts = np.append(self._starts, self.count)
        self.count += shard.count - place
        self._states = with_room(self._states, self.count)
        self._numbered[shard] = shard.count

    def records(self, numbers: np.ndarray) -> np.ndarray:
        """The records of these rows (n,): (n,) of RECORD."""
        records = np.empty(len(numbers), RECORD)
        raw = records.view(_RAW)
        for shard, places, positions in self._by_shard(numbers):
            raw[positions] = at(shard.records.view(_RAW), places)
        return records

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """These rows (n,): (n, *shape)."""
        rows = np.empty((len(numbers), *self._shape), self._dtype)
        for shard, places, positions in self._by_shard(numbers):
            shard.touch()
            rows[positions] = at(shard.rows, places)
        return rows

    def seconds(self, numbers: np.ndarray) -> float:
        """What it cost to compute these rows (n,)."""
        return sum(float(s.records["seconds"][places].sum(dtype=float)) for s, places, _ in self._by_shard(numbers))

    def are_sound(self, numbers: np.ndarray) -> np.ndarray:
        """Whether these rows (n,) are as they were written: (n,) of bool.

        Each is checked when it is first asked for: a job pays for the rows that it reads.
        """
        unknown = numbers[self._states[numbers] == _UNKNOWN]
        for shard, places, positions in self._by_shard(unknown):
            self._states[unknown[positions]] = np.where(shard.fit(places), _SOUND, _DAMAGED)
        sound: np.ndarray = self._states[numbers] == _SOUND
        return sound

    def _by_shard(self, numbers: np.ndarray) -> Iterator[tuple[Shard | MemoryShard, np.ndarray, np.ndarray | slice]]:
        """Each shard that some of these rows lie in, the places of these in it, and their positions in `numbers`."""
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
