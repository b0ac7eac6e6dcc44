"""The feature cache: what a frozen trunk says about a view of an image is computed once, and kept on this machine.

Its folder has a folder for each store, which are files of rows, and one for what engines have compiled. It is bounded:
what was used longest ago goes first.
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

BUDGET = 20 << 30
MOST_SHARD_BYTES = 64 << 20
IN_USE_SECONDS = 600.0
"""What was used within so long is in use, and stays."""


@dataclass(frozen=True)
class FeatureCache:
    """A folder and the bytes that it may take."""

    folder: Path
    budget: int = BUDGET

    @property
    def compiled(self) -> Path:
        """The folder of what engines have compiled."""
        return self.folder / "compiled"

    @property
    def shard_bytes(self) -> int:
        """At what size a new shard is begun: what goes at once is small next to all there is."""
        return min(MOST_SHARD_BYTES, self.budget // 8)

    @property
    def identity(self) -> str:
        """The same for all processes that share the folder, and for ever; raises OSError where it cannot be used."""
        with self._alone():
            file = self.folder / "id"
            if not file.exists() or not file.stat().st_size:
                file.write_text(secrets.token_hex(16))
            return file.read_text()

    @property
    def bytes(self) -> int:
        """What it holds."""
        return sum(size for _, size, _ in self._kept())

    def empty(self) -> None:
        """Delete all that it holds; who reads some of it at this moment reads on."""
        with self._alone():
            for _, _, files in self._kept():
                _delete(files)

    def make_room(self, needed: int) -> bool:
        """Delete what was used longest ago until so many bytes fit; whether they do."""
        with self._alone():
            kept = sorted(self._kept())
            total = sum(size for _, size, _ in kept)
            for used, size, files in kept:
                if total + needed <= self.budget or time.time() - used < IN_USE_SECONDS:
                    break
                _delete(files)
                total -= size
        return total + needed <= self.budget

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _kept(self) -> list[tuple[float, int, list[Path]]]:
        """What can be deleted together: when it was last used, its bytes, its files."""
        found = []
        for last in (*self.folder.glob("*/*.index"), *self.compiled.glob("*")):
            files = [last, *([last.with_suffix(".rows")] if last.suffix == ".index" else [])]
            try:
                stats = [file.stat() for file in files]
            except FileNotFoundError:
                continue
            found.append((stats[0].st_mtime, sum(stat.st_size for stat in stats), files))
        return found


def _delete(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
