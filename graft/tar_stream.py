"""Tar archive of a folder of images, packed while it is sent."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = 1 << 20


def pack_folder(folder: Path) -> Iterator[bytes]:
    """Yield the bytes of a tar of all files below `folder`, in order of their names, without hidden ones.

    Raises OSError where a file or a folder cannot be read.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path in list_files(folder):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(entry, file)
            if buffer.tell() >= BLOCK:
                yield _drain_buffer(buffer)
    yield _drain_buffer(buffer)


def list_files(folder: Path) -> list[Path]:
    """List all files below `folder` in order of their names, without hidden ones.

    Raises OSError where a folder cannot be read: its images would be missing in silence.
    """
    found: list[Path] = []
    pending = [folder]
    while pending:
        visible = [path for path in pending.pop().iterdir() if not path.name.startswith(".")]
        found += [path for path in visible if path.is_file()]
        pending += [path for path in visible if path.is_dir() and not _leads_upwards(path)]
    return sorted(found)


def _leads_upwards(folder: Path) -> bool:
    """Check whether a link to a folder leads to one that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def read_blocks(file: Path) -> Iterator[bytes]:
    """Yield the bytes of a file."""
    with file.open("rb") as archive:
        while block := archive.read(BLOCK):
            yield block


def _drain_buffer(buffer: io.BytesIO) -> bytes:
    content = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return content
