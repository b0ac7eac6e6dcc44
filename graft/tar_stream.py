"""Tar archive of a folder, packed while it is sent."""

from __future__ import annotations

import errno
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

BLOCK = 1 << 20


def pack_files(folder: Path, files: Sequence[Path]) -> Iterator[bytes]:
    """Yield the bytes of a tar of files below `folder`, in their order. Raises OSError where one cannot be read."""
    buffer = bytearray()
    for path in files:
        entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
        entry.size = path.stat().st_size
        buffer += entry.tobuf(tarfile.PAX_FORMAT)
        left = entry.size
        for block in read_blocks(path):
            buffer += block
            left -= len(block)
            if len(buffer) >= BLOCK:
                yield bytes(buffer)
                buffer.clear()
        if left:
            raise OSError(errno.EIO, "it changed while it was read", str(path))
        buffer += bytes(-entry.size % tarfile.BLOCKSIZE)
    yield bytes(buffer) + bytes(2 * tarfile.BLOCKSIZE)


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


def count(blocks: Iterator[bytes], sent: Callable[[int], None]) -> Iterator[bytes]:
    """Count the bytes of blocks: yield each, and tell its size once it was taken."""
    for block in blocks:
        yield block
        sent(len(block))
