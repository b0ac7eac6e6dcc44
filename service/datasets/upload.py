"""Stream an uploaded archive from a request to the storage, in constant memory."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from service.datasets.errors import ArchiveTooLarge, EmptyBody, NotAnArchive, UploadCutOff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import Request

    from service.storage import Storage

BLOCK = 1 << 20
"""Bytes that are buffered before they are written."""
TAR_MAGIC = slice(257, 262)
TAR_CHECKSUM = slice(148, 156)
TAR_HEADER_BYTES = 512
OTHER_ARCHIVES = {
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\0": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard",
    b"7z\xbc\xaf\x27\x1c": "a .7z archive",
    b"Rar!\x1a\x07": "a .rar archive",
    b"PK\x07\x08": "a part of a .zip that was split into several files",
}
"""First bytes of other archives, and what they are."""


async def receive(request: Request, storage: Storage, key: str, limit: int) -> str:
    """Stream the body, at most `limit` bytes, to the storage under `key`; returns its SHA-256 in hex.

    Nothing is stored on an error. Raises ArchiveTooLarge, EmptyBody, NotAnArchive, UploadCutOff.
    """
    if int(request.headers.get("content-length", 0)) > limit:
        raise _build_too_large(limit)
    digest = hashlib.sha256()
    blocks = _read_blocks(request, limit)
    first = await anext(blocks, b"")
    _check_magic(first)
    async with contextmanager_in_threadpool(storage.writing(key)) as file:
        await run_in_threadpool(file.write, first)
        digest.update(first)
        async for block in blocks:
            await run_in_threadpool(file.write, block)
            await run_in_threadpool(digest.update, block)
    return digest.hexdigest()


async def _read_blocks(request: Request, limit: int) -> AsyncIterator[bytes]:
    received = 0
    block = bytearray()
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > limit:
                raise _build_too_large(limit)
            block += chunk
            if len(block) >= BLOCK:
                yield bytes(block)
                block.clear()
    except ClientDisconnect as error:
        raise UploadCutOff("The connection ended before the archive did. Send it again.") from error
    if block:
        yield bytes(block)


def _check_magic(start: bytes) -> None:
    if not start:
        raise EmptyBody("The request has no body. Send the archive's bytes, as in: curl -X POST -T photos.zip URL")
    zipped = start.startswith((b"PK\x03\x04", b"PK\x05\x06"))
    gzipped = start.startswith(b"\x1f\x8b")
    if zipped or gzipped or start[TAR_MAGIC] == b"ustar" or _is_old_tar(start):
        return
    for magic, name in OTHER_ARCHIVES.items():
        if start.startswith(magic):
            raise NotAnArchive(
                f"The body is {name}. Graft reads .zip, .tar and .tar.gz: pack the images as one of these."
            )
    raise NotAnArchive("The body is no .zip, .tar or .tar.gz. Pack the images, a folder for each class.")


def _is_old_tar(start: bytes) -> bool:
    """Tell whether the body begins with a header of tar from before POSIX, which only its checksum shows."""
    header = start[:TAR_HEADER_BYTES]
    checksum = header[TAR_CHECKSUM]
    blank = header[: TAR_CHECKSUM.start] + b" " * 8 + header[TAR_CHECKSUM.stop :]
    return len(header) == TAR_HEADER_BYTES and f"{sum(blank):o}".encode() == checksum.strip(b" \0").lstrip(b"0")


def _build_too_large(limit: int) -> ArchiveTooLarge:
    return ArchiveTooLarge(f"The archive has more than {limit} bytes, the limit here (GRAFT_MAX_ARCHIVE_BYTES).")
