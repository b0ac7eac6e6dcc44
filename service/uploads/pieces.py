"""Receive a piece of a resumable upload: what is acknowledged is in the storage for good, and recorded.

A piece is stored as parts of at most PART_BYTES or PART_SECONDS, each under a name of its own, and each recorded in a
transaction that only the request with the upload's lease can commit. So a process that is killed loses one part, and
one that comes back late changes nothing.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from ulid import ULID

from service.storage import StorageUnavailable
from service.uploads import repository
from service.uploads.errors import UploadCutOff, UploadTooLarge
from service.uploads.parts import get_folder
from service.uploads.repository import LEASE_SECONDS, Part

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.database import Database
    from service.storage import Storage
    from service.tables import Upload
    from service.uploads.tus import Checksum

PART_BYTES = 32 << 20
PART_SECONDS = 5.0
BLOCK = 1 << 20
"""Bytes that are buffered before they are written."""
BLOCK_SECONDS = 1.0
"""Time after which fewer are written."""


async def receive(
    chunks: AsyncIterator[bytes],
    database: Database,
    storage: Storage,
    upload: Upload,
    limit: int,
    checksum: Checksum | None,
) -> None:
    """Add the bytes of a request to an upload whose lease it has, and give the lease back.

    What has come is kept where the connection breaks, but for a piece with a checksum, which is kept whole or not at
    all. Raises ChecksumMismatch, UploadCutOff, UploadLocked, UploadNotFound, UploadTooLarge, StorageUnavailable.
    """
    writer = PieceWriter(database, storage, upload, limit, checksum)
    try:
        try:
            async for block in _gather(chunks):
                await run_in_threadpool(writer.write, block)
        except ClientDisconnect as error:
            await run_in_threadpool(writer.cut_off)
            raise UploadCutOff(
                "The connection ended before the piece did. Ask for the offset, and go on there."
            ) from error
        await run_in_threadpool(writer.finish)
    finally:
        await run_in_threadpool(writer.close)


async def _gather(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Gather chunks to blocks of BLOCK bytes, or of what came in BLOCK_SECONDS."""
    block, since = bytearray(), time.monotonic()
    try:
        async for chunk in chunks:
            block += chunk
            if len(block) >= BLOCK or time.monotonic() - since >= BLOCK_SECONDS:
                yield bytes(block)
                block, since = bytearray(), time.monotonic()
    except ClientDisconnect:
        if block:
            yield bytes(block)
        raise
    if block:
        yield bytes(block)


class PieceWriter:
    """Writer of one piece. `close` must be called at the end, whatever happened."""

    def __init__(
        self, database: Database, storage: Storage, upload: Upload, limit: int, checksum: Checksum | None
    ) -> None:
        assert upload.writer is not None
        self._database, self._storage, self._checksum = database, storage, checksum
        self._id, self._lease = upload.id, upload.writer
        self._limit = limit if upload.bytes is None else upload.bytes
        self._digest = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
        self._stored = upload.offset
        """Offset at which the open part begins."""
        self._unrecorded: list[Part] = []
        """Parts in the storage that the database does not have yet."""
        self._open = ExitStack()
        self._file: IO[bytes] | None = None
        self._name = ""
        self._size = 0
        self._began = self._renewed = time.monotonic()

    def write(self, block: bytes) -> None:
        """Write bytes, and record the part that they are in once it is large or old enough."""
        if self._stored + self._size + len(block) > self._limit:
            raise UploadTooLarge(
                f"The piece goes beyond the {self._limit} bytes that the file may have. It is not kept."
            )
        if self._file is None:
            self._name, self._began = str(ULID()), time.monotonic()
            self._file = self._open.enter_context(self._storage.writing(f"{get_folder(self._id)}/{self._name}"))
        self._file.write(block)
        self._size += len(block)
        if self._digest is not None:
            self._digest.update(block)
        if self._size >= PART_BYTES or time.monotonic() - self._began >= PART_SECONDS:
            self._end_part()
        elif time.monotonic() - self._renewed > LEASE_SECONDS / 3:
            with self._database.writing() as session:
                repository.renew_lease(session, self._id, self._lease)
            self._renewed = time.monotonic()

    def finish(self) -> None:
        """Record the rest of a piece that has come as a whole. Raises ChecksumMismatch."""
        if self._checksum is not None and self._digest is not None:
            self._checksum.check(self._digest.digest())
            self._digest = None
        self._end_part()

    def cut_off(self) -> None:
        """Record what has come of a piece without a checksum."""
        if self._digest is None:
            self._end_part()

    def close(self) -> None:
        """Drop what is not recorded, and give the lease back."""
        # `writing` removes its file where its block raises.
        self._open.__exit__(UploadCutOff, UploadCutOff(""), None)
        try:
            for part in self._unrecorded:
                self._storage.delete(f"{get_folder(self._id)}/{part.name}")
            with self._database.writing() as session:
                repository.end_writing(session, self._id, self._lease)
        except (SQLAlchemyError, StorageUnavailable):
            pass  # the lease ends by itself, and files are removed with the upload

    def _end_part(self) -> None:
        if self._file is not None:
            self._file = None
            self._open.close()
            self._unrecorded.append(Part(self._stored, self._size, self._name))
            self._stored, self._size = self._stored + self._size, 0
        if self._digest is not None or not self._unrecorded:
            return
        try:
            with self._database.writing() as session:
                repository.add_parts(session, self._id, self._lease, self._unrecorded)
        except SQLAlchemyError:
            self._unrecorded = []  # they may be recorded, and only the answer be lost
            raise
        self._unrecorded = []
        self._renewed = time.monotonic()
