"""Feature cache: outputs of frozen trunks on this machine, computed once, evicted least recently used first.

Its folder has a folder for each feature store, and one for the models that engines have compiled.
"""

from __future__ import annotations

import fcntl
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

DEFAULT_BUDGET = 20 << 30
MAX_SHARD_BYTES = 64 << 20
IN_USE_SECONDS = 600.0
"""Files used within this time count as in use, and are not evicted."""


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
        return sum(size for _, size, _ in self._list_entries())

    def empty(self) -> None:
        """Delete all entries; processes that have some open still read them."""
        with self._lock():
            for _, _, files in self._list_entries():
                _delete(files)

    def make_room(self, needed: int) -> bool:
        """Evict the least recently used entries until `needed` bytes fit; return whether they do.

        A shard in use that is not finished counts with the size that it may grow to.
        """
        with self._lock():
            entries = sorted(self._list_entries())
            now = time.time()
            sizes = [self._expect_size(now - used, size, files) for used, size, files in entries]
            total = sum(sizes)
            for (used, _, files), size in zip(entries, sizes, strict=True):
                if total + needed <= self.budget or now - used < IN_USE_SECONDS:
                    break
                _delete(files)
                total -= size
        return total + needed <= self.budget

    def _expect_size(self, age: float, size: int, files: list[Path]) -> int:
        may_grow = len(files) == 2 and age < IN_USE_SECONDS
        return max(size, self.shard_bytes) if may_grow else size

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _list_entries(self) -> list[tuple[float, int, list[Path]]]:
        """List what is evicted together: the time of last use, the bytes, and the files of each entry."""
        entries = []
        for file in (*self.folder.glob("*/*.index"), *self.compiled_folder.glob("*")):
            files = [file, *([file.with_suffix(".rows")] if file.suffix == ".index" else [])]
            try:
                stats = [each.stat() for each in files]
            except FileNotFoundError:
                continue
            entries.append((stats[0].st_mtime, sum(stat.st_size for stat in stats), files))
        return entries


def _delete(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
