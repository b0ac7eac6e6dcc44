"""Shard of a feature store: rows in two append-only, memory-mapped files.

`rows` is raw memory, one row after another; `index` has a fixed record for each row. A row is written before its
record, and a record counts only when it is whole and its checksum is right, so a writer may be killed, or the machine
lose power, at any moment. A process that has a shard open still reads it after it was deleted.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from models.features.checksums import verify_checksums

if TYPE_CHECKING:
    from pathlib import Path

RECORD = np.dtype([("digest", "V32"), ("view", "<u4"), ("checksum", "<u4"), ("seconds", "<f4")])
"""One record of an index: the image's digest, the view, the row's checksum, and the seconds that the row cost."""
TOUCH_SECONDS = 60.0
"""Resolution of the time of last use."""
CHECK_BYTES = 1 << 20
"""Bytes of rows whose checksums are verified together."""


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
        """All rows, (count, *shape)."""
        return self._rows[: self.count]

    def append(self, records: np.ndarray, rows: np.ndarray) -> None:
        """Append rows of the right type and their records."""
        count = self.count + len(rows)
        self._records, self._rows = grow_array(self._records, count), grow_array(self._rows, count)
        self._records[self.count : count], self._rows[self.count : count] = records, rows
        self.count = count

    def refresh(self) -> None:
        """Do nothing: no other process appends."""

    def verify(self, indices: np.ndarray) -> np.ndarray:
        """Return True for each of the rows at these indices (n,): memory needs no checksums."""
        return np.ones(len(indices), bool)

    def touch(self) -> None:
        """Do nothing: rows in memory are never evicted."""


class Shard:
    """Rows of one pair of files, each an array of `shape` and `dtype`, by index."""

    def __init__(self, stem: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Name the files `stem`.rows and `stem`.index; `refresh()` reads them."""
        self.rows_file, self.index_file = stem.with_suffix(".rows"), stem.with_suffix(".index")
        self._dtype = dtype
        self._row_bytes = int(np.prod(shape)) * dtype.itemsize
        self.records = np.empty(0, RECORD)
        """The record of each row read so far, (count,) of RECORD."""
        self.rows = np.empty((0, *shape), dtype)
        """The rows read so far, (count, *shape)."""
        self._inode: int | None = None
        """Inode of the index file; while rows of it are mapped, no other file gets the same."""
        self._touched = 0.0

    @property
    def count(self) -> int:
        """Number of rows read so far."""
        return len(self.records)

    @property
    def bytes(self) -> int:
        """Size of the rows and their records."""
        return self.count * (self._row_bytes + RECORD.itemsize)

    @property
    def is_current(self) -> bool:
        """True while its files exist: neither deleted nor replaced by new ones."""
        try:
            return self.index_file.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def refresh(self) -> None:
        """Map rows that any process has appended; rows read before stay, even if the files were deleted."""
        try:
            with self.index_file.open("rb") as index, self.rows_file.open("rb") as rows:
                if self._is_replaced(index):
                    return
                # A torn record at the end does not count, nor does one whose row was lost in a power cut.
                count = self._count_whole_rows(index, rows)
                if count > self.count:
                    self.records = _map_file(index, RECORD, (count,))
                    self.rows = _map_file(rows, self._dtype, (count, *self.rows.shape[1:]))
        except FileNotFoundError:
            return

    def verify(self, indices: np.ndarray) -> np.ndarray:
        """Verify the checksums of the rows at these indices (n,): (n,) of bool."""
        is_valid = np.empty(len(indices), bool)
        size = max(1, CHECK_BYTES // self._row_bytes)
        for first in range(0, len(indices), size):
            batch = indices[first : first + size]
            expected = self.records["checksum"][batch]
            is_valid[first : first + size] = verify_checksums(take_rows(self.rows, batch), expected)
        return is_valid

    def append(self, records: np.ndarray, rows: np.ndarray) -> None:
        """Append rows of the right type and their records, unless the files were deleted; one process at a time."""
        with self.rows_file.open("ab") as data, self.index_file.open("ab") as index:
            if self._is_replaced(index):
                return
            # A writer that died may have left a torn end in either file.
            whole = self._count_whole_rows(index, data)
            _truncate(index, whole * RECORD.itemsize)
            _truncate(data, whole * self._row_bytes)
            data.write(rows.data)
            data.flush()
            index.write(records.data)

    def occupy(self) -> None:
        """Create the files where they are missing, and record that they are written now."""
        for file in (self.rows_file, self.index_file):
            file.touch()

    def read_last_write(self) -> float:
        """Read the time at which any process last appended; 0 if the files were deleted."""
        try:
            return self.rows_file.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def delete(self) -> None:
        """Delete the files."""
        for file in (self.rows_file, self.index_file):
            file.unlink(missing_ok=True)

    def touch(self) -> None:
        """Record the time of last use as the index file's time of change."""
        now = time.monotonic()
        if now - self._touched > TOUCH_SECONDS:
            self._touched = now
            try:
                os.utime(self.index_file)
            except OSError:  # deleted, or on a disk that cannot be written
                return

    def _is_replaced(self, index: Any) -> bool:
        """Tell whether the index file was deleted, and this is a new one of the same name."""
        inode = os.fstat(index.fileno()).st_ino
        if not self.count:
            self._inode = inode
        return inode != self._inode

    def _count_whole_rows(self, index: Any, rows: Any) -> int:
        """Count the rows that are whole and have a whole record."""
        sizes = (os.fstat(file.fileno()).st_size for file in (index, rows))
        return min(size // each for size, each in zip(sizes, (RECORD.itemsize, self._row_bytes), strict=True))


def _map_file(file: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray:
    return np.asarray(np.memmap(file, dtype, "r", shape=shape))


def take_rows(array: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Take the rows of an array at these indices (n,), without a copy where they are consecutive."""
    if len(indices) and indices[-1] - indices[0] == len(indices) - 1 and (np.diff(indices) == 1).all():
        return array[indices[0] : indices[-1] + 1]
    return array.take(indices, 0)


def grow_array(array: np.ndarray, count: int) -> np.ndarray:
    """Return an array with room for `count` rows: the same if it has it, else a copy of twice that, padded with 0."""
    if count <= len(array):
        return array
    grown = np.zeros((2 * count, *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown


def _truncate(file: Any, size: int) -> None:
    if file.tell() != size:
        os.truncate(file.fileno(), size)
