"""Feature cache: outputs of frozen trunks on this machine, computed once, evicted least recently used first.

Its folder has a folder for each feature store, and one for the models that engines have compiled.
"""

from __future__ import annotations

import fcntl
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

DEFAULT_BUDGET = 20 << 30
MAX_SHARD_BYTES = 64 << 20
IN_USE_SECONDS = 600.0
"""Files used within this time count as in use, and are not evicted."""
GROWING_SECONDS = 60.0
"""Shards written within this time count with the size that they may grow to."""


class _Entry(NamedTuple):
    """Files that are evicted together."""

    used: float
    """Time of last use."""
    written: float
    size: int
    files: list[Path]


@dataclass(frozen=True)
class FeatureCache:
    """Feature cache on disk: a folder and its budget in bytes."""

    folder: Path
    budget: int = DEFAULT_BUDGET

    @property
    def compiled_folder(self) -> Path:
        """Folder of the models that engines have compiled."""
        return self.folder / "compiled"

    @property
    def shard_bytes(self) -> int:
        """Size at which a new shard is started: small next to the budget, because shards are evicted whole."""
        return min(MAX_SHARD_BYTES, self.budget // 8)

    @property
    def identity(self) -> str:
        """Identity of the folder, for good and in all processes; raises OSError if the folder cannot be written."""
        with self._lock():
            file = self.folder / "id"
            if not file.exists() or not file.stat().st_size:
                file.write_text(secrets.token_hex(16))
            return file.read_text()

    @property
    def bytes(self) -> int:
        """Bytes of all entries."""
        return sum(entry.size for entry in self._list_entries())

    def empty(self) -> None:
        """Delete all entries; processes that have some open still read them."""
        with self._lock():
            for entry in self._list_entries():
                _delete(entry.files)

    def make_room(self, needed: int) -> bool:
        """Evict the least recently used entries until `needed` bytes fit; return whether they do.

        Shards that grow count with the size that they may grow to.
        """
        with self._lock():
            entries = sorted(self._list_entries())
            total = sum(self._expect_size(entry) for entry in entries)
            for entry in entries:
                if total + needed <= self.budget or time.time() - entry.used < IN_USE_SECONDS:
                    break
                _delete(entry.files)
                total -= self._expect_size(entry)
        return total + needed <= self.budget

    def _expect_size(self, entry: _Entry) -> int:
        is_growing = len(entry.files) == 2 and time.time() - entry.written < GROWING_SECONDS
        return max(entry.size, self.shard_bytes) if is_growing else entry.size

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _list_entries(self) -> list[_Entry]:
        entries = []
        for file in (*self.folder.glob("*/*.index"), *self.compiled_folder.glob("*")):
            files = [file, *([file.with_suffix(".rows")] if file.suffix == ".index" else [])]
            try:
                stats = [each.stat() for each in files]
            except FileNotFoundError:
                continue
            size = sum(stat.st_size for stat in stats)
            entries.append(_Entry(stats[0].st_mtime, stats[-1].st_mtime, size, files))
        return entries


def _delete(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
