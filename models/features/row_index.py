"""Hash table from (image digest, view) to row number, in numpy arrays: a million keys take 10 MB.

Open addressing with triangular probing, at most half full, beside a tag of 7 bits of each slot's hash, as in Swiss
tables. It does not hold the keys: it asks for records by row number. All calls take whole batches.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

MISSING = -1
"""Number of a row that does not exist."""
LOOKUP_BATCH = 1 << 16
"""Keys that are looked up together: their temporary arrays still fit the processor's cache."""
_LEAST_SLOTS = 1 << 10
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64)
"""Odd multipliers, one for each 8 bytes of a digest: digests may share most of their bits."""
_MIX_NUMBERS = _MIX.tolist()
_WORD = (1 << 64) - 1
_FEW = 4
"""Most keys that are looked for one by one first: for one that is new, numpy's calls took 0.07 to 0.13 ms."""
_MIX_VIEW, _MIX_ALL = np.uint64(0x85EBCA77C2B2AE63), np.uint64(0xFF51AFD7ED558CCD)


class RowIndex:
    """Finds the newest row of each (digest, view) among rows that are numbered 0, 1, 2, …"""

    def __init__(self, read_records: Callable[[np.ndarray], np.ndarray]) -> None:
        """Take a function that reads the records (n,) of rows by their numbers (n,)."""
        self._read_records = read_records
        self._count = 0
        self._allocate(_LEAST_SLOTS)

    def grow(self, count: int) -> None:
        """Index all new rows with numbers below `count`."""
        if 2 * count > len(self._tags):
            self._allocate(1 << (2 * count - 1).bit_length())
            self._count = 0
        for first in range(self._count, count, LOOKUP_BATCH):
            self._insert(np.arange(first, min(first + LOOKUP_BATCH, count)))
        self._count = count

    def find(self, digests: np.ndarray, view: int) -> np.ndarray:
        """Find row numbers (n,) by digests, (n,) of 32 bytes each; MISSING where there is none."""
        if len(digests) <= _FEW and not any(self._may_have(digest, view) for digest in digests.tolist()):
            return np.full(len(digests), MISSING)
        return self._probe(digests, np.full(len(digests), view, "<u4"))[1]

    def _may_have(self, digest: bytes, view: int) -> bool:
        """Tell whether a key's tag is where the key would be, without numpy's calls: of new keys, mostly not."""
        words = struct.unpack("<4Q", digest)
        mixed = sum(word * factor for word, factor in zip(words, _MIX_NUMBERS, strict=True)) + view * int(_MIX_VIEW)
        mixed &= _WORD
        mixed ^= mixed >> 32
        mixed = mixed * int(_MIX_ALL) & _WORD
        mixed ^= mixed >> 29
        tag, last, step = mixed >> 57 | 0x80, len(self._tags) - 1, 0
        slot = mixed & last
        while there := self._tags[slot]:
            if there == tag:
                return True
            step += 1
            slot = (slot + step) & last
        return False

    def _allocate(self, slots: int) -> None:
        self._tags = np.zeros(slots, np.uint8)
        """Of each slot, 7 bits of its key's hash and a leading 1; 0 where it is empty."""
        self._rows = np.zeros(slots, np.uint32)

    def _insert(self, rows: np.ndarray) -> None:
        """Insert rows with ascending numbers, greater than all indexed ones."""
        records = self._read_records(rows)
        digests, views = records["digest"], records["view"]
        while len(rows):
            slots, found, tags = self._probe(digests, views)
            # Where several rows want one slot, numpy keeps the last: of equal keys, the newest.
            newer = rows > found
            self._rows[slots[newer]] = rows[newer]
            self._tags[slots[newer]] = tags[newer]
            lost = newer & (self._rows[slots] != rows)
            rows, digests, views = rows[lost], digests[lost], views[lost]

    def _probe(self, digests: np.ndarray, views: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find each key's slot, present or future, its row's number or MISSING, and its tag; each (n,)."""
        digests = np.ascontiguousarray(digests)
        hashes = _hash_keys(digests, views)
        tags = (hashes >> np.uint64(57)).astype(np.uint8) | np.uint8(0x80)
        last = len(self._tags) - 1
        slots = (hashes & np.uint64(last)).astype(np.int64)
        found = np.full(len(hashes), MISSING, np.int64)
        unresolved, step = np.arange(len(hashes)), 0
        while len(unresolved):
            slot_tags = self._tags.take(slots.take(unresolved))
            candidates = unresolved[slot_tags == tags.take(unresolved)]
            rows = self._rows.take(slots.take(candidates)).astype(np.int64)
            records = self._read_records(rows)
            is_same = (records["digest"] == digests.take(candidates)) & (records["view"] == views.take(candidates))
            found[candidates[is_same]] = rows[is_same]
            unresolved = unresolved[slot_tags != 0]
            unresolved = unresolved[found.take(unresolved) == MISSING]
            step += 1
            slots[unresolved] = (slots.take(unresolved) + step) & last
        return slots, found, tags


def _hash_keys(digests: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Hash each digest (n,), contiguous in memory, with its view (n,), to 64 bits."""
    words = digests.view("<u8").reshape(-1, len(_MIX))
    hashes: np.ndarray = words @ _MIX + views * _MIX_VIEW
    hashes ^= hashes >> np.uint64(32)
    hashes *= _MIX_ALL
    hashes ^= hashes >> np.uint64(29)
    return hashes
