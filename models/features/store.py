"""Feature store: cached rows of one key, which names everything that a row depends on beside image and view.

It is a folder of shards. Only one process at a time computes rows of a store, a batch at a time; the others wait, and
find them. Rows are looked up and read by whole batches: `find` returns row numbers, which stay valid in this process
whatever is written or deleted later, and `read` takes them.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import secrets
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from models.features.cache import GROWING_SECONDS
from models.features.checksums import compute_checksums
from models.features.row_index import LOOKUP_BATCH, MISSING, RowIndex
from models.features.shard import RECORD, MemoryShard, Shard
from models.features.sharded_rows import ShardedRows
from models.runtime.supervisor_callbacks import no_heartbeat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from io import FileIO

    from models.features.cache import FeatureCache

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_WAIT_SECONDS = 0.05
"""Interval of tries to get a lock that another process holds."""


class FeatureStore:
    """Rows of one key, each an array of `shape` and `dtype`, found by (image's digest, view)."""

    def __init__(
        self, cache: FeatureCache, key: Mapping[str, Any], shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        """Open the store of `key` in the cache; it is created when rows are computed."""
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.key = {**key, "shape": list(shape), "dtype": self.dtype.str}
        self._description = json.dumps(self.key, sort_keys=True, indent=1)
        self.folder = cache.folder / hashlib.sha256(self._description.encode()).hexdigest()[:32]
        self.is_full = False
        """Whether the disk or the cache's budget is full: new rows then live in this process's memory alone."""
        self._cache = cache
        self._token = secrets.token_bytes(16)
        """Distinguishes this object from others, here and in other processes, that open the same store."""
        self._shards: list[Shard] = []
        self._memory = MemoryShard(shape, self.dtype)
        self._rows = ShardedRows(shape, self.dtype)
        self._index = RowIndex(self._rows.read_records)
        self.refresh()

    @property
    def count(self) -> int:
        """Rows that are known here."""
        return self._rows.count

    def find(self, digests: np.ndarray, view: int) -> np.ndarray:
        """Find row numbers (n,) of one view by image digests, (n,) of 32 bytes each.

        MISSING where no row is whole and unchanged. Numbers stay valid in this process, whatever is written or deleted
        later.
        """
        found = np.empty(len(digests), np.int64)
        for first in range(0, len(digests), LOOKUP_BATCH):
            numbers = self._index.find(digests[first : first + LOOKUP_BATCH], view)
            present = np.flatnonzero(numbers != MISSING)
            numbers[present[~self._rows.are_sound(numbers[present])]] = MISSING
            found[first : first + LOOKUP_BATCH] = numbers
        return found

    def read(self, numbers: np.ndarray) -> np.ndarray:
        """Read rows by their numbers (n,): (n, *shape)."""
        return self._rows.read(numbers)

    def sum_seconds(self, numbers: np.ndarray) -> float:
        """Sum the seconds that it took to compute rows, by their numbers (n,)."""
        return self._rows.sum_seconds(numbers)

    @contextmanager
    def lock(self, heartbeat: Callable[[], None] = no_heartbeat) -> Iterator[bool]:
        """Lock the store for computing rows, one process at a time; a process that waited finds the others' rows.

        Yields False if nobody else can have appended rows since this object held the lock. Calls `heartbeat()` while it
        waits: another process may compute for as long as it likes.
        """
        with ExitStack() as stack:
            was_last = False
            if not self.is_full:
                with self._catch_full_disk():
                    self._create()
                    lock = stack.enter_context((self.folder / "lock").open("a+b", buffering=0))
                    _wait_for_lock(lock, heartbeat)
                    was_last = self._mark_as_last(lock)
            if not was_last:
                self.refresh()
            yield not was_last

    def _mark_as_last(self, lock: FileIO) -> bool:
        """Write into the lock's file that this object held it last; return whether the file says so already."""
        lock.seek(0)
        if lock.read() == self._token:
            return True
        lock.truncate(0)
        lock.write(self._token)
        return False

    def append(self, digests: np.ndarray, view: int, rows: np.ndarray, seconds: float) -> None:
        """Append `rows` (n, *shape) of these digests, which took `seconds` each to compute; call it inside `lock()`."""
        limits = np.finfo(self.dtype)
        rows = np.ascontiguousarray(rows.clip(limits.min, limits.max), self.dtype)
        records = np.zeros(len(rows), RECORD)
        records["digest"], records["view"], records["seconds"] = digests, view, seconds
        records["checksum"] = compute_checksums(rows)
        if not self.is_full:
            with self._catch_full_disk():
                self._write(records, rows)
        lost = self.find(digests, view) == MISSING  # they could not be written, or were deleted already
        self._memory.append(records[lost], rows[lost])
        self._index_shards(self._memory)

    def refresh(self) -> None:
        """Index the rows that any process has appended."""
        known = {shard.index_file for shard in self._shards}
        new = [file for file in sorted(self.folder.glob("*.index")) if file not in known]
        self._shards += [Shard(file, self.shape, self.dtype) for file in new]
        self._index_shards(*self._shards)

    def _index_shards(self, *shards: Shard | MemoryShard) -> None:
        for shard in shards:
            shard.refresh()
            self._rows.add(shard)
        self._index.grow(self._rows.count)

    def _write(self, records: np.ndarray, rows: np.ndarray) -> None:
        shard = self._open_shard()
        if shard is None:
            self.is_full = True
            return
        shard.append(records, rows)
        self._index_shards(shard)

    def _open_shard(self) -> Shard | None:
        """Find an unfinished shard, or begin one; None if the cache's budget has no room for the whole of it."""
        shard = self._find_unfinished_shard()
        if shard is not None and time.time() - shard.read_last_write() < GROWING_SECONDS / 2:
            return shard  # the cache counts all of it
        is_new = shard is None
        if shard is None:
            shard = Shard(self.folder / f"{time.time_ns():020}", self.shape, self.dtype)
        # From now on all of it counts, for other stores too, so that together they stay below the budget.
        shard.occupy()
        if not self._cache.make_room(0):
            if is_new:
                shard.delete()
            return None
        if is_new:
            self._shards.append(shard)
        return shard

    def _find_unfinished_shard(self) -> Shard | None:
        """Find a shard below its maximum size, if there is one."""
        for shard in reversed(self._shards):
            if shard.bytes < self._cache.shard_bytes and shard.is_current:
                return shard
        return None

    def _create(self) -> None:
        """Make the folder, with the key in a file, for people who look at it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "key.json"
        if not file.exists():
            file.write_text(self._description)

    @contextmanager
    def _catch_full_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _DISK_FULL:
                raise
            self.is_full = True


def _wait_for_lock(lock: FileIO, heartbeat: Callable[[], None]) -> None:
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            heartbeat()
        time.sleep(_WAIT_SECONDS)
