"""Blobs of checkpoints: tensors stored by content, in chunks; a file is a header and a sequence of tensors."""

from __future__ import annotations

import hashlib
import json
import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, exists, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from service.checkpoints.errors import CheckpointDamaged, ContentsCollected
from service.tables import CheckpointTensor, Chunk, Tensor, now

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import Session

    from service.database import Database
    from service.tables import Checkpoint

CHUNK = 1 << 20
"""Bytes of a chunk, and about those of one transaction, so that no renewal of a lease waits long behind it."""
AT_ONCE = 200
"""Largest number of rows in one statement."""


@dataclass(frozen=True)
class Manifest:
    """Contents of a stored file: its header and its tensors."""

    header: bytes
    """The safetensors header with its length before it."""
    tensors: Sequence[str]
    """Digests, in the order of the file."""
    bytes: int
    digest: str
    """SHA-256 of the whole file, in hex."""


def store(database: Database, path: Path) -> Manifest:
    """Store the new tensors of a safetensors file, in small transactions.

    It needs no fence: content under its own digest does no harm, and the next writer completes what one that died
    left incomplete. `link` then makes a checkpoint of it.

    Raises ContentsCollected.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = 8 + int.from_bytes(content[:8], "little")
        header = content[:start]
        places = [(start + begin, start + end) for begin, end in _extents(header)]
        digests = [_digest(content, *place) for place in places]
        distinct = dict(zip(digests, places, strict=True))
        for batch in _split_batches(sorted(distinct)):
            _touch(database, {digest: distinct[digest][1] - distinct[digest][0] for digest in batch})
            _complete(database, {digest: distinct[digest] for digest in batch}, content)
        return Manifest(header, digests, len(content), _digest(content, 0, len(content)))


def link(session: Session, checkpoint: Checkpoint, manifest: Manifest) -> None:
    """Link stored tensors to a flushed checkpoint, in the caller's transaction.

    Raises ContentsCollected.
    """
    rows = [
        {"checkpoint_id": checkpoint.id, "position": position, "digest": digest}
        for position, digest in enumerate(manifest.tensors)
    ]
    try:
        session.execute(insert(CheckpointTensor), rows)
    except IntegrityError as error:
        raise ContentsCollected("Stored tensors were collected before a checkpoint named them.") from error


def read(database: Database, checkpoint: Checkpoint, start: int, stop: int) -> Iterator[bytes]:
    """Read the bytes from `start` to before `stop` of the checkpoint's file, chunk by chunk, in short transactions.

    A tensor that is read whole is checked against its digest; raises CheckpointDamaged.
    """
    position = len(checkpoint.header)
    if start < position:
        yield checkpoint.header[start:stop]
    for digest, size in _tensors(database, checkpoint.id):
        first, last = max(start - position, 0), min(stop - position, size)
        if first < last:
            yield from _read(database, digest, size, first, last)
        position += size


def collect(database: Database, grace_seconds: float) -> int:
    """Delete tensors that no checkpoint names and no writer has relied on lately; returns how many."""
    removed = 0
    old = select(Tensor.digest).where(_is_unused(), Tensor.touched_at <= now() - grace_seconds).limit(AT_ONCE)
    while True:
        found = _remove(database, old)
        removed += found
        if found < AT_ONCE:
            return removed


def _is_unused() -> ColumnElement[bool]:
    return ~exists().where(CheckpointTensor.digest == Tensor.digest)


def _remove(database: Database, unused: Select[str]) -> int:
    try:
        with database.writing() as session:
            digests = session.scalars(unused.with_for_update(skip_locked=True)).all()
            session.execute(delete(Tensor).where(Tensor.digest.in_(digests)))
    except IntegrityError:  # one was linked between the two statements; the next run finds the others
        return 0
    return len(digests)


def _extents(header: bytes) -> list[tuple[int, int]]:
    """Parse begin and end of every tensor behind the header, in the order of the file."""
    tensors: dict[str, Any] = json.loads(header[8:])
    return sorted(tuple(tensor["data_offsets"]) for name, tensor in tensors.items() if name != "__metadata__")


def _digest(content: mmap.mmap, start: int, stop: int) -> str:
    digest = hashlib.sha256()
    for place in range(start, stop, CHUNK):
        digest.update(content[place : min(place + CHUNK, stop)])
    return digest.hexdigest()


def _split_batches(digests: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(digests), AT_ONCE):
        yield digests[start : start + AT_ONCE]


def _touch(database: Database, sizes: dict[str, int]) -> None:
    """Upsert a row for each tensor, touched now, so that none is collected before its checkpoint is there."""
    with database.writing() as session:
        insert = _insert(session, Tensor).values([{"digest": digest, "bytes": size} for digest, size in sizes.items()])
        session.execute(insert.on_conflict_do_update(index_elements=["digest"], set_={"touched_at": now()}))


def _complete(database: Database, places: dict[str, tuple[int, int]], content: mmap.mmap) -> None:
    """Write the missing chunks of these tensors."""
    with database.reading() as session:
        query = select(Chunk.digest, Chunk.seq).where(Chunk.digest.in_(places))
        there = {(digest, seq) for digest, seq in session.execute(query)}
    lacking: list[dict[str, Any]] = []
    size = 0
    for digest, (start, stop) in places.items():
        for seq, place in enumerate(range(start, stop, CHUNK)):
            if (digest, seq) in there:
                continue
            data = content[place : min(place + CHUNK, stop)]
            if lacking and size + len(data) > CHUNK:
                _write(database, lacking)
                lacking, size = [], 0
            lacking.append({"digest": digest, "seq": seq, "data": data})
            size += len(data)
    if lacking:
        _write(database, lacking)


def _write(database: Database, chunks: list[dict[str, Any]]) -> None:
    try:
        with database.writing() as session:
            session.execute(_insert(session, Chunk).on_conflict_do_nothing(), chunks)
    except IntegrityError as error:
        raise ContentsCollected("A tensor was collected while it was stored.") from error


def _insert(session: Session, table: type[Tensor | Chunk]) -> Any:
    """Build an INSERT with ON CONFLICT, which SQLAlchemy has for each dialect apart."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def _tensors(database: Database, checkpoint_id: str) -> list[tuple[str, int]]:
    query = (
        select(Tensor.digest, Tensor.bytes)
        .join(CheckpointTensor)
        .where(CheckpointTensor.checkpoint_id == checkpoint_id)
        .order_by(CheckpointTensor.position)
    )
    with database.reading() as session:
        return [(digest, size) for digest, size in session.execute(query)]


def _read(database: Database, digest: str, size: int, start: int, stop: int) -> Iterator[bytes]:
    """Read bytes of one tensor. One that is read whole is checked before its last chunk is yielded."""
    whole = hashlib.sha256()
    for seq in range(start // CHUNK, -(-stop // CHUNK)):
        with database.reading() as session:
            data = session.scalar(select(Chunk.data).where(Chunk.digest == digest, Chunk.seq == seq))
        if data is None:
            raise CheckpointDamaged(f"A part of tensor {digest} is missing in the database; restore its backup.")
        whole.update(data)
        ends = (seq + 1) * CHUNK >= size
        if start == 0 and ends and whole.hexdigest() != digest:
            raise CheckpointDamaged(f"Tensor {digest} was changed in the database; restore its backup.")
        yield data[max(start - seq * CHUNK, 0) : stop - seq * CHUNK]
