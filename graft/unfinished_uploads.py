"""Notes of unfinished uploads in ~/.cache/graft, so that another run of the same command continues them."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from graft.upload_source import UploadSource

KEEP_SECONDS = 14 * 86400.0
"""Age from which notes are deleted; the service deletes an upload that nobody uses much earlier."""


class Note:
    """The address of an upload that has begun, in a file that this process has locked."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        """Read a file; without one, nothing is kept."""
        self._file = file
        found = file.read().decode(errors="replace").strip() if file else ""
        self.address = found if found.isascii() and found.isprintable() else ""  # a crash may leave anything
        """Empty where none is kept."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            if not self.address:
                self.forget()
            self._file.close()

    def write(self, address: str) -> None:
        """Keep an address, where that can be done: an upload does not depend on it."""
        if self._file is None:
            return
        content, written = address.encode(), 0
        with suppress(OSError):
            self._file.truncate(0)
            written = self._file.write(content)
        if written == len(content):
            self.address = address
        else:  # the disk is full
            self.forget()

    def forget(self) -> None:
        """Delete the note."""
        self.address = ""
        if self._file:
            with suppress(OSError):
                Path(self._file.name).unlink()


def open_note(url: str, source: UploadSource) -> Note:
    """Open the note of an upload of these files, as they are now, to a service.

    Nothing is kept for a pipe, where the folder cannot be written, or while another process uploads the same.
    """
    if not source.can_repeat:
        return Note()
    with suppress(OSError, RuntimeError):  # the latter where there is no home
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "graft" / "uploads"
        folder.mkdir(parents=True, exist_ok=True)
        _delete_old(folder)
        file = (folder / _name(url, source)).open("ab+", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
            file.seek(0)
            return Note(file)
        except OSError:
            file.close()
    return Note()


def _name(url: str, source: UploadSource) -> str:
    """Name a note by the service, and by names, sizes and times of what is sent."""
    files = [(str(file), state.st_size, state.st_mtime_ns) for file, state in source.files.items()]
    facts = [url, str(source.path.resolve()), *files]
    return hashlib.sha256(json.dumps(facts).encode(errors="surrogateescape")).hexdigest()


def _delete_old(folder: Path) -> None:
    for note in folder.iterdir():
        with suppress(OSError):  # another process deletes them too, or they are another user's
            if time.time() - note.stat().st_mtime > KEEP_SECONDS:
                note.unlink()
