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
    """Yield the bytes of a tar of all files below `folder`, in order of their names, without hidden ones."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if not path.is_file() or any(part.startswith(".") for part in inside.parts):
                continue
            entry = tarfile.TarInfo(inside.as_posix())
            entry.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(entry, file)
            if buffer.tell() >= BLOCK:
                yield _drain_buffer(buffer)
    yield _drain_buffer(buffer)


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
