"""Hash table from (image digest, view) to row number, in numpy arrays: a million keys take 10 MB.

Open addressing with triangular probing, at most half full, beside a tag of 7 bits of each slot's hash, as Swiss tables
have it. It does not hold the keys: whoever has the records gives them back by row number. All calls take whole batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

MISSING = -1
"""Stands for the number of a row that is not there."""
AT_ONCE = 1 << 16
"""Keys that are best looked up at once: what that takes stays in the processor's cache."""
_FEWEST_SLOTS = 1 << 10
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)
"""Odd multipliers, one for each 8 bytes of a digest: digests may share most of their bits."""
_MIX_VIEW, _MIX_ALL = np.uint64(0x85EBCA77C2B2AE63), np.uint64(0xFF51AFD7ED558CCD)


class RowIndex:
    """Finds the newest row of each (digest, view) among rows that are numbered 0, 1, 2, …"""

    def __init__(self, records: Callable[[np.ndarray], np.ndarray]) -> None:
        """`records` gives the records (n,) of rows by their numbers (n,)."""
        self._records = records
        self._count = 0
        self._allocate(_FEWEST_SLOTS)

    def grow(self, count: int) -> None:
        """Take in the rows up to number `count`."""
        if 2 * count > len(self._tags):
            self._allocate(1 << (2 * count - 1).bit_length())
            self._count = 0
        for first in range(self._count, count, AT_ONCE):
            self._insert(np.arange(first, min(first + AT_ONCE, count)))
        self._count = count

    def find(self, digests: np.ndarray, view: int) -> np.ndarray:
        """Row numbers (n,) of these digests, (n,) of 32 bytes each; MISSING where there is none."""
        return self._probe(digests, np.full(len(digests), view, "<u4"))[1]

    def _allocate(self, slots: int) -> None:
        self._tags = np.zeros(slots, np.uint8)
        """Of each slot, 7 bits of its key's hash and a leading 1; 0 where it is empty."""
        self._rows = np.zeros(slots, np.uint32)

    def _insert(self, rows: np.ndarray) -> None:
        """Rows with rising numbers, above all that are there."""
        records = self._records(rows)
        digests, views = records["digest"], records["view"]
        while len(rows):
            slots, found, tags = self._probe(digests, views)
            # Where several rows want one slot, numpy leaves the last: of one key, that is the newest.
            newer = rows > found
            self._rows[slots[newer]] = rows[newer]
            self._tags[slots[newer]] = tags[newer]
            lost = newer & (self._rows[slots] != rows)
            rows, digests, views = rows[lost], digests[lost], views[lost]

    def _probe(self, digests: np.ndarray, views: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each key, the slot where it is or would go, its row's number or MISSING, and its tag; each (n,)."""
        digests = np.ascontiguousarray(digests)
        hashes = _hashes(digests, views)
        tags = (hashes >> np.uint64(57)).astype(np.uint8) | np.uint8(0x80)
        last = len(self._tags) - 1
        slots = (hashes & np.uint64(last)).astype(np.int64)
        found = np.full(len(hashes), MISSING, np.int64)
        seeking, step = np.arange(len(hashes)), 0
        while len(seeking):
            there = self._tags.take(slots.take(seeking))
            alike = seeking[there == tags.take(seeking)]
            rows = self._rows.take(slots.take(alike)).astype(np.int64)
            records = self._records(rows)
            same = (records["digest"] == digests.take(alike)) & (records["view"] == views.take(alike))
            found[alike[same]] = rows[same]
            seeking = seeking[there != 0]
            seeking = seeking[found.take(seeking) == MISSING]
            step += 1
            slots[seeking] = (slots.take(seeking) + step) & last
        return slots, found, tags


def _hashes(digests: np.ndarray, views: np.ndarray) -> np.ndarray:
    """64 bits for each digest (n,), contiguous in memory, with its view (n,)."""
    words = digests.view("<u8").reshape(-1, len(_MIX))
    hashes: np.ndarray = words @ _MIX + views * _MIX_VIEW
    hashes ^= hashes >> np.uint64(32)
    hashes *= _MIX_ALL
    hashes ^= hashes >> np.uint64(29)
    return hashes
