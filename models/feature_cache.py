"""The feature cache: what a frozen trunk says about a view of a picture is computed once, and kept.

A *space* holds all rows of one key, which names all that a row depends on beside the picture and the view: the
trunk's digest, the preprocessing, engine and precision. It is two append-only files. `rows` is raw memory, one row
after another; `index` has a fixed record for each row (the picture's digest, the view, the row's checksum, the
seconds that it cost). A row is written before its record, and a record counts only when it is whole and its checksum
fits, so a writer may be killed, or the machine lose power, at any moment.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import zlib
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

RECORD = np.dtype([("digest", "V32"), ("view", "<u4"), ("checksum", "<u4"), ("seconds", "<f4")])
"""One record of an index."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Space:
    """The rows of one key, each an array of `shape` and `dtype`, found by (picture's digest, view)."""

    def __init__(self, folder: Path, key: Mapping[str, Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Open the space of `key` in the cache's `folder`, or make it."""
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.key = {**key, "shape": list(shape), "dtype": self.dtype.str}
        said = json.dumps(self.key, sort_keys=True, indent=1)
        self.folder = folder / hashlib.sha256(said.encode()).hexdigest()[:32]
        self.full = False
        """The disk took no more: new rows live in memory, for this process alone."""
        self._row_bytes = int(np.prod(shape)) * self.dtype.itemsize
        self._places: dict[tuple[bytes, int], int] = {}
        self._records = np.empty(0, RECORD)
        self._checked = np.empty(0, bool)
        """Of each record, whether its row's checksum is known to fit."""
        self._rows = np.empty((0, *shape), self.dtype)
        self._memory: list[np.ndarray] = []
        self._memory_seconds: list[float] = []
        with self._noticing_a_full_disk():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._describe(said)
        self.refresh()

    def missing(self, digests: Sequence[bytes], view: int) -> list[int]:
        """Positions in `digests` of the pictures whose row for `view` is not there, whole and unchanged."""
        return [position for position, digest in enumerate(digests) if not self._holds(digest, view)]

    def read(self, digests: Sequence[bytes], view: int) -> np.ndarray:
        """The rows of these pictures, of shape (len(digests), *shape); all must be there."""
        places = np.array([self._places[digest, view] for digest in digests], np.int64)
        rows = np.empty((len(places), *self.shape), self.dtype)
        on_disk = places >= 0
        rows[on_disk] = self._rows[places[on_disk]]
        for position in np.flatnonzero(~on_disk):
            rows[position] = self._memory[~places[position]]
        return rows

    def seconds(self, digests: Sequence[bytes], view: int) -> float:
        """What it cost to compute the rows of these pictures."""
        places = [self._places[digest, view] for digest in digests]
        in_memory = sum(self._memory_seconds[~place] for place in places if place < 0)
        on_disk = [place for place in places if place >= 0]
        return in_memory + float(self._records["seconds"][on_disk].sum(dtype=float))

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Only one process at a time computes rows of a space; who waited finds them when its turn comes."""
        with ExitStack() as stack:
            if not self.full:
                with self._noticing_a_full_disk():
                    lock = stack.enter_context((self.folder / "lock").open("w"))
                    fcntl.flock(lock, fcntl.LOCK_EX)
            self.refresh()
            yield

    def append(self, digests: Sequence[bytes], view: int, rows: np.ndarray, seconds: float) -> None:
        """Keep `rows` (len(digests), *shape), which cost `seconds` each; call it inside `computing()`."""
        limits = np.finfo(self.dtype)
        rows = np.ascontiguousarray(rows.clip(limits.min, limits.max), self.dtype)
        if not self.full:
            with self._noticing_a_full_disk():
                self._write(digests, view, rows, seconds)
        if not self.full:
            self.refresh()
            return
        for digest, row in zip(digests, rows, strict=True):
            self._places[digest, view] = ~len(self._memory)
            self._memory.append(row)
            self._memory_seconds.append(seconds)

    def refresh(self) -> None:
        """Take in what has been appended since, by whomever."""
        data, index = self.folder / "rows", self.folder / "index"
        if not index.exists():
            return
        # A torn record at the end is not whole, and left out; so is one whose row was lost with the machine's power.
        known, count = len(self._records), data.stat().st_size // self._row_bytes
        new = np.fromfile(index, RECORD, offset=known * RECORD.itemsize)[: max(0, count - known)]
        if not len(new):
            return
        self._rows = np.memmap(data, self.dtype, "r", shape=(count, *self.shape))
        self._records = np.concatenate([self._records, new])
        self._checked = np.concatenate([self._checked, np.zeros(len(new), bool)])
        keys = zip(new["digest"].tolist(), new["view"].tolist(), strict=True)
        self._places.update(zip(keys, range(known, known + len(new)), strict=True))

    def _holds(self, digest: bytes, view: int) -> bool:
        place = self._places.get((digest, view))
        if place is None:
            return False
        if place < 0 or self._checked[place]:
            return True
        # Checked when first asked for: a job pays for the rows that it reads, not for all that there are.
        if zlib.crc32(self._rows[place]) != self._records["checksum"][place]:
            del self._places[digest, view]
            return False
        self._checked[place] = True
        return True

    def _describe(self, said: str) -> None:
        """Say what the space is of, for people who look at the folder."""
        description = self.folder / "key.json"
        if not description.exists():
            description.write_text(said)

    @contextmanager
    def _noticing_a_full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self.full = True

    def _write(self, digests: Sequence[bytes], view: int, rows: np.ndarray, seconds: float) -> None:
        records = np.zeros(len(rows), RECORD)
        records["digest"] = np.frombuffer(b"".join(digests), "V32")
        records["view"] = view
        records["checksum"] = [zlib.crc32(row) for row in rows]
        records["seconds"] = seconds
        with (self.folder / "rows").open("ab") as data, (self.folder / "index").open("ab") as index:
            # What a writer that died left half done is cut off, in both files.
            whole = min(index.tell() // RECORD.itemsize, data.tell() // self._row_bytes)
            _extend(index, whole * RECORD.itemsize)
            _extend(data, whole * self._row_bytes)
            data.write(rows.data)
            data.flush()
            index.write(records.data)


def _extend(file: Any, size: int) -> None:
    if file.tell() != size:
        os.truncate(file.fileno(), size)
