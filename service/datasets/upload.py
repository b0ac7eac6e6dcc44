"""Stream an uploaded archive from a request to the storage, in constant memory."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from service import content_encoding
from service.datasets.errors import ArchiveTooLarge, EmptyBody, ImportNotOffered, NotAnArchive, UploadCutOff
from service.datasets.form import FormFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import Request

    from service.storage import Storage

BLOCK = 1 << 20
"""Bytes that are buffered before they are written."""
HOW = "as in: curl -X POST -T photos.zip URL"
URL_ENCODED = "application/x-www-form-urlencoded"
STRIPPED = f"Line breaks and NULs were taken out of the archive, as curl -d does. Send it whole, {HOW}"
SURELY_STRIPPED = 2048
"""Size from which an archive without a single line break is none: one in ten million has none by chance."""
ZIP = b"PK\x03\x04"
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


class Received(NamedTuple):
    """An upload that is in the storage."""

    digest: str
    """SHA-256 in hex."""
    name: str
    """The name that a form gives the dataset; empty without one."""


async def receive(request: Request, storage: Storage, key: str, limit: int) -> Received:
    """Stream the body, or the file of a form, at most `limit` bytes, to the storage under `key`.

    Nothing is stored on an error. Raises ArchiveTooLarge, EmptyBody, FormMalformed, ImportNotOffered, NotAnArchive,
    UploadCutOff.
    """
    if int(request.headers.get("content-length", 0)) > limit:
        raise _build_too_large(limit)
    kind = request.headers.get("content-type", "").lower()
    form = FormFile(request.headers["content-type"]) if kind.startswith("multipart/form-data") else None
    digest = hashlib.sha256()
    blocks = _read_blocks(request, form, limit)
    first = await anext(blocks, b"")
    _check_magic(first)
    may_be_stripped = kind.startswith(URL_ENCODED)
    # Every .zip has a NUL here, which curl -d takes out too.
    if may_be_stripped and first.startswith(ZIP) and first[5:6] != b"\0":
        raise NotAnArchive(STRIPPED)
    async with contextmanager_in_threadpool(storage.writing(key)) as file:
        async for block in _chain(first, blocks):
            await run_in_threadpool(file.write, block)
            await run_in_threadpool(digest.update, block)
            may_be_stripped = may_be_stripped and not (b"\n" in block or b"\r" in block)
        if may_be_stripped and file.tell() > SURELY_STRIPPED:
            raise NotAnArchive(STRIPPED)
    return Received(digest.hexdigest(), form.name if form else "")


async def _chain(first: bytes, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for block in blocks:
        yield block


async def _read_blocks(request: Request, form: FormFile | None, limit: int) -> AsyncIterator[bytes]:
    received = 0
    block = bytearray()
    chunks = content_encoding.decode(request.headers, request.stream())
    try:
        async for chunk in form.read(chunks) if form else chunks:
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
        raise EmptyBody(f"The request has no body. Send the archive's bytes, {HOW}")
    zipped = start.startswith((ZIP, b"PK\x05\x06"))
    gzipped = start.startswith(b"\x1f\x8b")
    if zipped or gzipped or start[TAR_MAGIC] == b"ustar" or _is_old_tar(start):
        return
    for magic, name in OTHER_ARCHIVES.items():
        if start.startswith(magic):
            raise NotAnArchive(
                f"The body is {name}. Graft reads .zip, .tar and .tar.gz: pack the images as one of these."
            )
    if start.lstrip().startswith(b"{"):
        raise ImportNotOffered(
            f"The body is JSON, and Graft fetches nothing from other addresses. Send the archive's bytes, {HOW}"
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
