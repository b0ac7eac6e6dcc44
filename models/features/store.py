"""A space of the feature cache: all rows of one key, which names all that a row depends on beside image and view.

It is a folder of shards. Only one process at a time computes rows of a space; the others wait, and find them.
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

from models.features.shard import RECORD, Shard

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from models.features.cache import FeatureCache

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_PLACES = 2**32
"""A row is known by the number of its shard times this, plus its place."""


class FeatureStore:
    """The rows of one key, each an array of `shape` and `dtype`, found by (image's digest, view)."""

    def __init__(
        self, cache: FeatureCache, key: Mapping[str, Any], shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        """Open the space of `key` in the cache, or make it."""
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.key = {**key, "shape": list(shape), "dtype": self.dtype.str}
        said = json.dumps(self.key, sort_keys=True, indent=1)
        self.folder = cache.folder / hashlib.sha256(said.encode()).hexdigest()[:32]
        self.full = False
        """The disk, or the cache's budget, took no more: new rows live in memory, for this process alone."""
        self._cache = cache
        self._shards: list[Shard] = []
        self._places: dict[tuple[bytes, int], int] = {}
        """Below zero: those in memory."""
        self._memory: list[np.ndarray] = []
        self._memory_seconds: list[float] = []
        with self._noticing_a_full_disk():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._describe(said)
        self.refresh()

    def missing(self, digests: Sequence[bytes], view: int) -> list[int]:
        """Positions in `digests` of the images whose row for `view` is not there, whole and unchanged."""
        return [position for position, digest in enumerate(digests) if not self._holds(digest, view)]

    def read(self, digests: Sequence[bytes], view: int) -> np.ndarray:
        """The rows of these images, of shape (len(digests), *shape); all must be there."""
        rows = np.empty((len(digests), *self.shape), self.dtype)
        places = self._placed(digests, view)
        for number, shard, positions in self._by_shard(places):
            rows[positions] = shard.read(places[positions] - number * _PLACES)
        for position in np.flatnonzero(places < 0):
            rows[position] = self._memory[~places[position]]
        return rows

    def seconds(self, digests: Sequence[bytes], view: int) -> float:
        """What it cost to compute the rows of these images."""
        places = self._placed(digests, view)
        seconds = float(sum(self._memory_seconds[~place] for place in places[places < 0]))
        for number, shard, positions in self._by_shard(places):
            seconds += shard.seconds(places[positions] - number * _PLACES)
        return seconds

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
        for digest, row in zip(digests, rows, strict=True):
            if (digest, view) not in self._places:  # it could not be written, or was deleted already
                self._places[digest, view] = ~len(self._memory)
                self._memory.append(row)
                self._memory_seconds.append(seconds)

    def refresh(self) -> None:
        """Take in what has been appended since, by whomever."""
        known = {shard.index_file for shard in self._shards}
        for file in sorted(self.folder.glob("*.index")):
            if file not in known:
                self._open(file.stem)
        for number in range(len(self._shards)):
            self._take_in(number)

    def _open(self, name: str) -> int:
        """The number of a shard that was not known."""
        self._shards.append(Shard(self.folder / name, self.shape, self.dtype))
        return len(self._shards) - 1

    def _take_in(self, number: int) -> None:
        shard = self._shards[number]
        first = number * _PLACES + shard.count
        new = shard.refresh()
        keys = zip(new["digest"].tolist(), new["view"].tolist(), strict=True)
        self._places.update(zip(keys, range(first, first + len(new)), strict=True))

    def _placed(self, digests: Sequence[bytes], view: int) -> np.ndarray:
        return np.array([self._places[digest, view] for digest in digests], np.int64)

    def _by_shard(self, places: np.ndarray) -> Iterator[tuple[int, Shard, np.ndarray]]:
        """Each shard that some of these lie in, with its number and the positions of these."""
        numbers = places // _PLACES
        for number in np.unique(numbers[places >= 0]).tolist():
            yield number, self._shards[number], np.flatnonzero(numbers == number)

    def _holds(self, digest: bytes, view: int) -> bool:
        place = self._places.get((digest, view))
        if place is None:
            return False
        if place < 0 or self._shards[place // _PLACES].is_sound(place % _PLACES):
            return True
        del self._places[digest, view]
        return False

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
        number = self._unfinished()
        if number is None:
            if not self._cache.make_room(self._cache.shard_bytes):
                self.full = True
                return
            number = self._open(f"{time.time_ns():020}")
        records = np.zeros(len(rows), RECORD)
        records["digest"] = np.frombuffer(b"".join(digests), "V32")
        records["view"] = view
        records["seconds"] = seconds
        self._shards[number].append(records, rows)
        self._take_in(number)

    def _unfinished(self) -> int | None:
        """The number of a shard that has room, if there is one."""
        for number in reversed(range(len(self._shards))):
            shard = self._shards[number]
            if shard.bytes < self._cache.shard_bytes and shard.is_there:
                return number
        return None
