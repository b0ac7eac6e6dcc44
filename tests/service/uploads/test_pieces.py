"""Pieces of resumable uploads: what is recorded is in the storage, whatever ends the request."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
from typing import TYPE_CHECKING

import pytest
from starlette.requests import ClientDisconnect

from service.storage import Storage
from service.uploads import parts, pieces, repository
from service.uploads.errors import ChecksumMismatch, UploadCutOff, UploadLocked
from service.uploads.tus import Checksum, parse_checksum

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from service.database import Database

DATA = random.Random(0).randbytes(5000)
LIMIT = 1 << 30


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 1000)
    monkeypatch.setattr(pieces, "BLOCK", 300)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Storage in a temporary folder."""
    return Storage(str(tmp_path / "storage"))


@pytest.fixture
def upload(database: Database) -> str:
    """The id of an upload of DATA that is empty so far."""
    with database.writing() as session:
        return repository.create(session, size=len(DATA), metadata="", created_by=None).id


async def chunks(*blocks: bytes, is_cut_off: bool = False) -> AsyncIterator[bytes]:
    """Give blocks as a server does, and perhaps a broken connection."""
    for block in blocks:
        yield block
    if is_cut_off:
        raise ClientDisconnect


def receive(
    database: Database,
    storage: Storage,
    upload: str,
    blocks: AsyncIterator[bytes],
    checksum: Checksum | None = None,
    at: int = 0,
) -> None:
    """Receive a piece, as the endpoint does."""
    with database.writing() as session:
        row = repository.begin_writing(session, upload, offset=at, piece=0, size=None, limit=LIMIT)
    asyncio.run(pieces.receive(blocks, database, storage, row, LIMIT, checksum))


def look(database: Database, storage: Storage, upload: str) -> tuple[list[int], bytes, int]:
    """Read an upload: offsets of its recorded parts, their bytes together, and the number of its files."""
    with database.reading() as session:
        listed = repository.list_parts(session, upload)
        assert repository.get(session, upload).offset == sum(part.bytes for part in listed)
    files = storage.list_old_files(parts.get_folder(upload), -1)
    parts.write_list(storage, upload, listed)
    with parts.reading(storage, parts.get_folder(upload)) as file:
        return [part.start for part in listed], file.read(), len(files)


def test_a_long_piece_is_recorded_part_by_part(database: Database, storage: Storage, upload: str) -> None:
    receive(database, storage, upload, chunks(DATA[:100], DATA[100:450], DATA[450:2100], DATA[2100:2400], DATA[2400:]))
    assert look(database, storage, upload) == ([0, 2100], DATA, 2)


def test_what_came_before_a_broken_connection_is_kept(database: Database, storage: Storage, upload: str) -> None:
    with pytest.raises(UploadCutOff):
        receive(database, storage, upload, chunks(DATA[:1200], DATA[1200:1210], is_cut_off=True))
    assert look(database, storage, upload) == ([0, 1200], DATA[:1210], 2)
    receive(database, storage, upload, chunks(DATA[1210:]), at=1210)
    assert look(database, storage, upload)[1] == DATA


def test_a_piece_with_a_checksum_is_kept_whole_or_not_at_all(database: Database, storage: Storage, upload: str) -> None:
    digest = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    checksum = parse_checksum({"upload-checksum": f"sha256 {digest}"})
    with pytest.raises(UploadCutOff):
        receive(database, storage, upload, chunks(DATA[:1200], DATA[1200:4000], is_cut_off=True), checksum)
    assert look(database, storage, upload) == ([], b"", 0)
    with pytest.raises(ChecksumMismatch):
        receive(database, storage, upload, chunks(DATA[:1200], DATA[:3800]), checksum)
    assert look(database, storage, upload)[:2] == ([], b"")
    receive(database, storage, upload, chunks(DATA[:1200], DATA[1200:]), checksum)
    assert look(database, storage, upload)[:2] == ([0, 1200], DATA)


def test_a_request_that_another_has_taken_over_from_changes_nothing(
    database: Database, storage: Storage, upload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "LEASE_SECONDS", 0.0)

    async def stalled() -> AsyncIterator[bytes]:
        yield DATA[:1100]
        await asyncio.to_thread(receive, database, storage, upload, chunks(DATA[1100:2300]), None, 1100)
        yield b"x" * 2000

    with pytest.raises(UploadLocked):
        receive(database, storage, upload, stalled())
    assert look(database, storage, upload) == ([0, 1100], DATA[:2300], 2)


def test_a_slow_sender_keeps_its_lease(
    database: Database, storage: Storage, upload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "LEASE_SECONDS", 0.0)  # renew with each block

    async def slow() -> AsyncIterator[bytes]:
        yield DATA[:300]
        with database.writing() as session:
            repository.get(session, upload, lock=True).lease_until = 1.0
        yield DATA[300:600]
        with pytest.raises(UploadLocked), database.writing() as session:
            repository.begin_writing(session, upload, offset=0, piece=0, size=None, limit=LIMIT)
        yield DATA[600:]

    receive(database, storage, upload, slow())
    assert look(database, storage, upload)[1] == DATA


def test_an_old_part_is_recorded_though_it_is_small(
    database: Database, storage: Storage, upload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PART_SECONDS", 0.0)
    receive(database, storage, upload, chunks(DATA[:300], DATA[300:]))
    assert look(database, storage, upload)[0] == [0, 300]
