"""A shard of the feature cache: rows of one space in two append-only files.

`rows` is raw memory, one row after another; `index` has a fixed record for each row. A row is written before its
record, and a record counts only when it is whole and its checksum fits, so a writer may be killed, or the machine lose
power, at any moment. Who has a shard open goes on reading it when it has been deleted.
"""

from __future__ import annotations

import os
import time
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

RECORD = np.dtype([("digest", "V32"), ("view", "<u4"), ("checksum", "<u4"), ("seconds", "<f4")])
"""One record of an index: the image's digest, the view, the row's checksum, and the seconds that the row cost."""
TOUCH_SECONDS = 60.0
"""How exactly the last use is known."""


class Shard:
    """The rows of one pair of files, each an array of `shape` and `dtype`, by their places."""

    def __init__(self, stem: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Those of `stem`.rows and `stem`.index, as far as they are there."""
        self.rows_file, self.index_file = stem.with_suffix(".rows"), stem.with_suffix(".index")
        self._shape, self._dtype = shape, dtype
        self._row_bytes = int(np.prod(shape)) * dtype.itemsize
        self._records = np.empty(0, RECORD)
        self._checked = np.empty(0, bool)
        """Of each record, whether its row's checksum is known to fit."""
        self.count = 0
        """Rows that are known."""
        self._rows = np.empty((0, *shape), dtype)
        self._touched = 0.0

    @property
    def bytes(self) -> int:
        """What its rows and their records take."""
        return self.count * (self._row_bytes + RECORD.itemsize)

    @property
    def is_there(self) -> bool:
        """Whether nobody has deleted it, or begun it anew after that."""
        try:
            return self.index_file.stat().st_size >= self.count * RECORD.itemsize
        except FileNotFoundError:
            return False

    def refresh(self) -> np.ndarray:
        """Take in what has been appended since, by whomever; gives its records, in the order of their places."""
        if not self.is_there:  # what is open stays
            return np.empty(0, RECORD)
        try:
            # A torn record at the end is not whole, and left out; so is one whose row was lost with the power.
            whole = self.rows_file.stat().st_size // self._row_bytes
            new = np.fromfile(self.index_file, RECORD, offset=self.count * RECORD.itemsize)
            new = new[: max(0, whole - self.count)]
            if len(new):
                self._rows = np.memmap(self.rows_file, self._dtype, "r", shape=(whole, *self._shape))
        except (FileNotFoundError, ValueError):  # deleted at this moment
            return np.empty(0, RECORD)
        if len(new):
            self._records = _with_room(self._records, self.count + len(new))
            self._checked = _with_room(self._checked, self.count + len(new))
            self._records[self.count : self.count + len(new)] = new
            self._checked[self.count : self.count + len(new)] = False
            self.count += len(new)
        return new

    def read(self, places: np.ndarray) -> np.ndarray:
        """The rows at these places."""
        self._touch()
        rows: np.ndarray = self._rows[places]
        return rows

    def seconds(self, places: np.ndarray) -> float:
        """What it cost to compute these rows."""
        return float(self._records["seconds"][places].sum(dtype=float))

    def is_sound(self, place: int) -> bool:
        """Whether the row is as it was written. Checked when first asked for: a job pays for the rows that it reads."""
        if not self._checked[place]:
            self._checked[place] = zlib.crc32(self._rows[place]) == self._records["checksum"][place]
        return bool(self._checked[place])

    def append(self, records: np.ndarray, rows: np.ndarray) -> None:
        """Write rows of the right type, and their records but for the checksums; one process at a time."""
        records["checksum"] = [zlib.crc32(row) for row in rows]
        with self.rows_file.open("ab") as data, self.index_file.open("ab") as index:
            # What a writer that died left half done is cut off, in both files.
            whole = min(index.tell() // RECORD.itemsize, data.tell() // self._row_bytes)
            _extend(index, whole * RECORD.itemsize)
            _extend(data, whole * self._row_bytes)
            data.write(rows.data)
            data.flush()
            index.write(records.data)

    def _touch(self) -> None:
        """Have the index's time of change tell of the last use."""
        now = time.monotonic()
        if now - self._touched > TOUCH_SECONDS:
            self._touched = now
            try:
                os.utime(self.index_file)
            except OSError:  # deleted, or on a disk that cannot be written
                return


def _with_room(array: np.ndarray, count: int) -> np.ndarray:
    """The same with room for so many, and as many more again where it grows."""
    if count <= len(array):
        return array
    grown = np.empty(2 * count, array.dtype)
    grown[: len(array)] = array
    return grown


def _extend(file: Any, size: int) -> None:
    if file.tell() != size:
        os.truncate(file.fileno(), size)
