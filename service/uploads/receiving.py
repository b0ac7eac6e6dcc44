"""Stream the files of a request to the storage, in constant memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from service import content_encoding
from service.uploads.errors import UploadCutOff
from service.uploads.form import Form, FormShape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from fastapi import Request

    from service.errors import GraftError
    from service.storage import Storage

BLOCK = 1 << 20
"""Bytes that are buffered before they are written."""
URL_ENCODED = "application/x-www-form-urlencoded"
"""Content type of `curl -d`, which takes line breaks and NULs out, and of `curl --data-binary`, which does not."""
SURELY_STRIPPED = 2048
"""Size from which a binary file without a single line break is none: one in ten million has none by chance."""

Block = tuple[str, bytes]
"""Bytes of a file, after its name in the request."""


class ReceivedFile(NamedTuple):
    """A file that is in the storage."""

    bytes: int
    digest: str
    """SHA-256 in hex."""


class Received(NamedTuple):
    """The files of a request, and what else its form says."""

    files: dict[str, ReceivedFile]
    fields: dict[str, str]
    file_names: dict[str, str]
    """Names of files on the sender's machine."""


@dataclass(frozen=True)
class Expected:
    """Expectations of an upload, and the errors where they are not met."""

    form: FormShape
    limit: int
    """Most bytes of all files together."""
    too_large: GraftError
    stripped: GraftError
    """For a file from which `curl -d` has taken line breaks."""
    check_start: Callable[[str, bytes], None]
    """Checks the first bytes of a file, given its name in the request; they are empty for a request without a body."""


async def receive(request: Request, storage: Storage, keys: Mapping[str, str], expected: Expected) -> Received:
    """Stream the body, as the first of the form's files, or the files of a form to the storage, under `keys`.

    The file in which an error occurs is not stored; those before it are. Raises what `expected` names, FormMalformed,
    UploadCutOff.
    """
    if int(request.headers.get("content-length", 0)) > expected.limit:
        raise expected.too_large
    kind = request.headers.get("content-type", "").lower()
    form = Form(request.headers["content-type"], expected.form) if kind.startswith("multipart/form-data") else None
    blocks = _read_blocks(request, form, expected)
    files: dict[str, ReceivedFile] = {}
    block = await anext(blocks, None)
    if block is None and (form is None or expected.form.is_file_required):
        expected.check_start(expected.form.files[0], b"")
    stripped = expected.stripped if kind.startswith(URL_ENCODED) else None
    while block is not None:
        name, start = block
        expected.check_start(name, start)
        files[name], block = await _store(block, blocks, storage, keys[name], stripped)
    return Received(files, form.fields if form else {}, form.file_names if form else {})


async def _store(
    first: Block, blocks: AsyncIterator[Block], storage: Storage, key: str, stripped: GraftError | None
) -> tuple[ReceivedFile, Block | None]:
    """Store one file, and return the first block of the next."""
    digest = hashlib.sha256()
    block: Block | None = first
    async with contextmanager_in_threadpool(storage.writing(key)) as file:
        while block is not None and block[0] == first[0]:
            data = block[1]
            await run_in_threadpool(file.write, data)
            await run_in_threadpool(digest.update, data)
            stripped = None if b"\n" in data or b"\r" in data else stripped
            block = await anext(blocks, None)
        size = file.tell()
        if stripped is not None and size > SURELY_STRIPPED:
            raise stripped
    return ReceivedFile(size, digest.hexdigest()), block


async def _read_blocks(request: Request, form: Form | None, expected: Expected) -> AsyncIterator[Block]:
    """Read blocks of at least BLOCK bytes, but for the last of each file."""
    received = 0
    name, block = expected.form.files[0], bytearray()
    chunks = content_encoding.decode(request.headers, request.stream())
    try:
        async for file, chunk in form.read(chunks) if form else _as_file(chunks, name):
            received += len(chunk)
            if received > expected.limit:
                raise expected.too_large
            if file != name or len(block) >= BLOCK:
                if block:
                    yield name, bytes(block)
                name, block = file, bytearray()
            block += chunk
    except ClientDisconnect as error:
        raise UploadCutOff("The connection ended before the upload did. Send it again.") from error
    if block:
        yield name, bytes(block)


async def _as_file(chunks: AsyncIterator[bytes], name: str) -> AsyncIterator[Block]:
    async for chunk in chunks:
        yield name, chunk
