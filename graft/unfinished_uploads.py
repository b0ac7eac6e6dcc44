"""Notes of unfinished uploads in ~/.cache/graft, so that another run of the same command continues them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from graft import tar_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

KEEP_SECONDS = 14 * 86400.0
"""Age from which notes are deleted; the service deletes an upload that nobody uses much earlier."""


class Note:
    """The address of an upload that has begun."""

    def __init__(self, place: Path, file: IO[str]) -> None:
        self._place, self._file = place, file
        self.address = file.read().strip()
        """Empty where none has begun."""

    def write(self, address: str) -> None:
        """Keep an address."""
        self.address = address
        self._file.seek(0)
        self._file.truncate()
        self._file.write(address)
        self._file.flush()

    def forget(self) -> None:
        """Delete the note."""
        self._place.unlink(missing_ok=True)


@contextmanager
def open_note(url: str, path: Path) -> Iterator[Note | None]:
    """Open the note of an upload of these files, as they are now, to a service.

    None where there can be none: for a pipe, where the folder cannot be written, or while another process uploads them.
    """
    place = _choose_place(url, path)
    with ExitStack() as stack:
        note = None
        with suppress(OSError):
            if place is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                _delete_old(place.parent)
                file = stack.enter_context(place.open("a+"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
                file.seek(0)
                note = Note(place, file)
        yield note
        if note and not note.address:
            note.forget()


def forget(url: str, path: Path) -> None:
    """Delete the note of an upload that was used."""
    if place := _choose_place(url, path):
        place.unlink(missing_ok=True)


def _choose_place(url: str, path: Path) -> Path | None:
    """Choose the file of a note by the service, and by names, sizes and times of what is sent; None for a pipe."""
    if not (path.is_file() or path.is_dir()):
        return None
    states = [(str(file), file.stat()) for file in (tar_stream.list_files(path) if path.is_dir() else [path])]
    facts = [url, str(path.resolve()), *((name, state.st_size, state.st_mtime_ns) for name, state in states)]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "graft" / "uploads"
    return folder / hashlib.sha256(json.dumps(facts).encode(errors="surrogateescape")).hexdigest()


def _delete_old(folder: Path) -> None:
    for note in folder.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - note.stat().st_mtime > KEEP_SECONDS:
                note.unlink()
