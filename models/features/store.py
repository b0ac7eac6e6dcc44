"""Feature store: all rows of one key, which names all that a row depends on beside image and view.

It is a folder of shards. Only one process at a time computes rows of a store; the others wait, and find them. Rows are
looked up and read by whole batches: `find` gives their numbers, which stay valid in this process whatever is written or
deleted later, and `read` takes those.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from models.features.checksums import checksums
from models.features.row_index import AT_ONCE, MISSING, RowIndex
from models.features.shard import RECORD, MemoryShard, Shard
from models.features.sharded_rows import ShardedRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from models.features.cache import FeatureCache

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class FeatureStore:
    """The rows of one key, each an array of `shape` and `dtype`, found by (image's digest, view)."""

    def __init__(
        self, cache: FeatureCache, key: Mapping[str, Any], shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        """Open the store of `key` in the cache, or make it."""
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.key = {**key, "shape": list(shape), "dtype": self.dtype.str}
        description = json.dumps(self.key, sort_keys=True, indent=1)
        self.folder = cache.folder / hashlib.sha256(description.encode()).hexdigest()[:32]
        self.full = False
        """The disk, or the cache's budget, took no more: new rows live in memory, for this process alone."""
        self._cache = cache
        self._shards: list[Shard] = []
        self._memory = MemoryShard(shape, self.dtype)
        self._rows = ShardedRows(shape, self.dtype)
        self._index = RowIndex(self._rows.records)
        with self._noticing_a_full_disk():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._describe(description)
        self.refresh()

    def find(self, digests: np.ndarray, view: int) -> np.ndarray:
        """Row numbers (n,) of images by their digests (n,), 32 bytes each; MISSING where no row is whole and unchanged.

        They are of `view`, and stay valid in this process, whatever is written or deleted later.
        """
        found = np.empty(len(digests), np.int64)
        for first in range(0, len(digests), AT_ONCE):
            numbers = self._index.find(digests[first : first + AT_ONCE], view)
            there = np.flatnonzero(numbers != MISSING)
            numbers[there[~self._rows.are_sound(numbers[there])]] = MISSING
            found[first : first + AT_ONCE] = numbers
        return found

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """The rows of these numbers (n,), of shape (n, *shape)."""
        return self._rows.read(numbers)

    def seconds(self, numbers: np.ndarray) -> float:
        """What it cost to compute the rows of these numbers (n,)."""
        return self._rows.seconds(numbers)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Only one process at a time computes rows of a store; who waited finds them when its turn comes."""
        with ExitStack() as stack:
            if not self.full:
                with self._noticing_a_full_disk():
                    lock = stack.enter_context((self.folder / "lock").open("w"))
                    fcntl.flock(lock, fcntl.LOCK_EX)
            self.refresh()
            yield

    def append(self, digests: np.ndarray, view: int, rows: np.ndarray, seconds: float) -> None:
        """Keep `rows` (n, *shape) of these digests, which cost `seconds` each; call it inside `computing()`."""
        limits = np.finfo(self.dtype)
        rows = np.ascontiguousarray(rows.clip(limits.min, limits.max), self.dtype)
        records = np.zeros(len(rows), RECORD)
        records["digest"], records["view"], records["seconds"] = digests, view, seconds
        records["checksum"] = checksums(rows)
        if not self.full:
            with self._noticing_a_full_disk():
                self._write(records, rows)
        lost = self.find(digests, view) == MISSING  # they could not be written, or were deleted already
        self._memory.append(records[lost], rows[lost])
        self._take_in(self._memory)

    def refresh(self) -> None:
        """Take in what has been appended since, by whomever."""
        known = {shard.index_file for shard in self._shards}
        new = [file for file in sorted(self.folder.glob("*.index")) if file not in known]
        self._shards += [Shard(file, self.shape, self.dtype) for file in new]
        self._take_in(*self._shards)

    def _take_in(self, *shards: Shard | MemoryShard) -> None:
        for shard in shards:
            shard.refresh()
            self._rows.add(shard)
        self._index.grow(self._rows.count)

    def _write(self, records: np.ndarray, rows: np.ndarray) -> None:
        shard = self._unfinished()
        if shard is None:
            if not self._cache.make_room(self._cache.shard_bytes):
                self.full = True
                return
            shard = Shard(self.folder / f"{time.time_ns():020}", self.shape, self.dtype)
            self._shards.append(shard)
        shard.append(records, rows)
        self._take_in(shard)

    def _unfinished(self) -> Shard | None:
        """A shard that has room, if there is one."""
        for shard in reversed(self._shards):
            if shard.bytes < self._cache.shard_bytes and shard.is_there:
                return shard
        return None

    def _describe(self, description: str) -> None:
        """Say what the store is of, for people who look at the folder."""
        file = self.folder / "key.json"
        if not file.exists():
            file.write_text(description)

    @contextmanager
    def _noticing_a_full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self.full = True
