"""Temporary folders that are locked by their process: what remains of a killed one can be told, and removed."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LOCK, CONTENT = "lock", "content"


@contextmanager
def lock_folder(parent: Path) -> Iterator[Path]:
    """Make an empty folder below another, which `remove_unlocked` leaves there until the context ends."""
    parent.mkdir(parents=True, exist_ok=True)
    made = lock = None
    while lock is None:  # it may be removed between being made and being locked
        made = Path(tempfile.mkdtemp(prefix="locked-", dir=parent))
        lock = _lock(made)
    assert made is not None
    try:
        (made / CONTENT).mkdir()
        yield made / CONTENT
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def remove_unlocked(folder: Path) -> None:
    """Remove a folder, unless a process has it locked."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except OSError:  # none that lock_folder made
        shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a new folder; returns the lock's descriptor, None where the folder has been removed."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return None
    fcntl.flock(lock, fcntl.LOCK_EX)
    if (folder / LOCK).exists():
        return lock
    os.close(lock)
    return None
