"""A shard of the feature cache: rows of one store in two append-only files, memory-mapped.

`rows` is raw memory, one row after another; `index` has a fixed record for each row. A row is written before its
record, and a record counts only when it is whole and its checksum fits, so a writer may be killed, or the machine lose
power, at any moment. Who has a shard open goes on reading it when it has been deleted.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from models.features.checksums import have_checksums

if TYPE_CHECKING:
    from pathlib import Path

RECORD = np.dtype([("digest", "V32"), ("view", "<u4"), ("checksum", "<u4"), ("seconds", "<f4")])
"""One record of an index: the image's digest, the view, the row's checksum, and the seconds that the row cost."""
TOUCH_SECONDS = 60.0
"""How exactly the last use is known."""
CHECK_BYTES = 1 << 20
"""Bytes of rows whose checksums are computed at once."""


class MemoryShard:
    """Rows that could not be written to the disk, each an array of `shape` and `dtype`."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._records = np.empty(0, RECORD)
        self._rows = np.empty((0, *shape), dtype)
        self.count = 0

    @property
    def records(self) -> np.ndarray:
        """The record of each row, (count,) of RECORD."""
        return self._records[: self.count]

    @property
    def rows(self) -> np.ndarray:
        """(count, *shape)."""
        return self._rows[: self.count]

    def append(self, records: np.ndarray, rows: np.ndarray) -> None:
        """Keep rows of the right type and their records."""
        grown = self.count + len(rows)
        self._records, self._rows = with_room(self._records, grown), with_room(self._rows, grown)
        self._records[self.count : grown], self._rows[self.count : grown] = records, rows
        self.count = grown

    def refresh(self) -> None:
        """Nobody else appends to them."""

    def fit(self, places: np.ndarray) -> np.ndarray:
        """Whether the rows at these places (n,) have their checksums, (n,) of bool: in memory, all have."""
        return np.ones(len(places), bool)

    def touch(self) -> None:
        """Nothing evicts them."""


class Shard:
    """The rows of one pair of files, each an array of `shape` and `dtype`, by their places."""

    def __init__(self, stem: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Nothing of `stem`.rows and `stem`.index is read before `refresh()`."""
        self.rows_file, self.index_file = stem.with_suffix(".rows"), stem.with_suffix(".index")
        self._dtype = dtype
        self._row_bytes = int(np.prod(shape)) * dtype.itemsize
        self.records = np.empty(0, RECORD)
        """The record of each row that is known, (count,) of RECORD."""
        self.rows = np.empty((0, *shape), dtype)
        """(count, *shape)."""
        self._inode: int | None = None
        """Of the index file; as long as rows of it are mapped, no other file has the same."""
        self._touched = 0.0

    @property
    def count(self) -> int:
        """Rows that are known."""
        return len(self.records)

    @property
    def bytes(self) -> int:
        """What its rows and their records take."""
        return self.count * (self._row_bytes + RECORD.itemsize)

    @property
    def is_there(self) -> bool:
        """Whether nobody has deleted it, or begun it anew after that."""
        try:
            return self.index_file.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def refresh(self) -> None:
        """Take in what has been appended since, by whomever; what was known stays, even if it has been deleted."""
        try:
            with self.index_file.open("rb") as index, self.rows_file.open("rb") as rows:
                if self._is_other(index):
                    return
                # A torn record at the end is not whole, and left out; so is one whose row was lost with the power.
                count = self._whole(index, rows)
                if count > self.count:
                    self.records = _mapped(index, RECORD, (count,))
                    self.rows = _mapped(rows, self._dtype, (count, *self.rows.shape[1:]))
        except FileNotFoundError:
            return

    def fit(self, places: np.ndarray) -> np.ndarray:
        """Whether the rows at these places (n,) have their checksums, (n,) of bool."""
        fit = np.empty(len(places), bool)
        at_once = max(1, CHECK_BYTES // self._row_bytes)
        for first in range(0, len(places), at_once):
            some = places[first : first + at_once]
            fit[first : first + at_once] = have_checksums(at(self.rows, some), self.records["checksum"][some])
        return fit

    def append(self, records: np.ndarray, rows: np.ndarray) -> None:
        """Write rows of the right type and their records; one process at a time. Nothing, if it has been deleted."""
        with self.rows_file.open("ab") as data, self.index_file.open("ab") as index:
            if self._is_other(index):
                return
            # What a writer that died left half done is cut off, in both files.
            whole = self._whole(index, data)
            _cut_to(index, whole * RECORD.itemsize)
            _cut_to(data, whole * self._row_bytes)
            data.write(rows.data)
            data.flush()
            index.write(records.data)

    def touch(self) -> None:
        """Have the index's time of change tell of the last use."""
        now = time.monotonic()
        if now - self._touched > TOUCH_SECONDS:
            self._touched = now
            try:
                os.utime(self.index_file)
            except OSError:  # deleted, or on a disk that cannot be written
                return

    def _is_other(self, index: Any) -> bool:
        """Whether this index is not the one that is known: that was deleted, and a new one begun in its place."""
        found = os.fstat(index.fileno()).st_ino
        if not self.count:
            self._inode = found
        return found != self._inode

    def _whole(self, index: Any, rows: Any) -> int:
        """Rows that are there whole, with a whole record."""
        sizes = (os.fstat(file.fileno()).st_size for file in (index, rows))
        return min(size // each for size, each in zip(sizes, (RECORD.itemsize, self._row_bytes), strict=True))


def _mapped(file: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(np.memmap(file, dtype, "r", shape=shape))


def at(array: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The rows of an array at these places (n,); not copied where places follow one another."""
    if len(places) and places[-1] - places[0] == len(places) - 1 and (np.diff(places) == 1).all():
        return array[places[0] : places[-1] + 1]
    return array.take(places, 0)


def with_room(array: np.ndarray, count: int) -> np.ndarray:
    """The same with room for so many, and as many more again where it grows; 0 where it is new."""
    if count <= len(array):
        return array
    grown = np.zeros((2 * count, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def _cut_to(file: Any, size: int) -> None:
    if file.tell() != size:
        os.truncate(file.fileno(), size)
