"""Blobs of checkpoints: tensors stored by content, in chunks; a file is a header and a sequence of tensors."""

from __future__ import annotations

import hashlib
import mmap
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import delete, exists, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from graft import file_header
from service.checkpoints import headers, manifests
from service.checkpoints.errors import CheckpointDamaged, ContentsCollected
from service.tables import Checkpoint, CheckpointTensor, Chunk, Tensor, Trunk, TrunkTensor, now

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import Session

    from service.checkpoints.manifests import Manifest
    from service.database import Database

CHUNK = 1 << 20
"""Bytes of a chunk, and about those of one transaction, so that no renewal of a lease waits long behind it."""
AT_ONCE = 200
"""Largest number of rows in one statement."""


class StoredTensor(NamedTuple):
    """A tensor of a checkpoint: equal digests are equal bytes, whichever checkpoints name them."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    digest: str
    bytes: int


def store(database: Database, path: Path) -> Manifest:
    """Store the new tensors of a safetensors file that Graft wrote, in small transactions.

    It needs no fence: content under its own digest does no harm, and the next writer completes what one that died
    left incomplete. `link` then makes a checkpoint of it.

    Raises ContentsCollected.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = 8 + int.from_bytes(content[:8], "little")
        header = file_header.parse(content[:start])
        places = list(_locate(header.entries, start))
        digests = [_digest(content, *place) for place in places]
        distinct = dict(zip(digests, places, strict=True))
        for batch in _split_batches(sorted(distinct)):
            _touch(database, {digest: distinct[digest][1] - distinct[digest][0] for digest in batch})
            _complete(database, {digest: distinct[digest] for digest in batch}, content)
        whole = _digest(content, 0, len(content))
        return manifests.describe(
            header, digests, len(content), whole, lambda place: _read_blocks(content, *places[place])
        )


def link(session: Session, checkpoint: Checkpoint, manifest: Manifest) -> None:
    """Add a checkpoint of stored tensors, in the caller's transaction.

    Raises ContentsCollected.
    """
    trunk = manifest.trunk
    checkpoint.trunk_id, checkpoint.header = trunk.id, manifest.header
    checkpoint.bytes, checkpoint.digest = manifest.bytes, manifest.digest
    checkpoint.head_bytes, checkpoint.head_digest = manifest.head_bytes, manifest.head_digest
    try:
        values = {"id": trunk.id, "digest": trunk.digest, "header": trunk.header}
        # A trunk and its rows come and go in one transaction each: where there is one, its rows are there.
        added = session.execute(_insert(session, Trunk).values(values).on_conflict_do_nothing().returning(Trunk.id))
        if added.first() is not None and manifest.trunk_tensors:
            session.execute(insert(TrunkTensor), _number("trunk_id", trunk.id, manifest.trunk_tensors))
        session.add(checkpoint)
        session.flush()
        if manifest.tensors:
            session.execute(insert(CheckpointTensor), _number("checkpoint_id", checkpoint.id, manifest.tensors))
    except IntegrityError as error:
        raise ContentsCollected("Stored tensors were collected before a checkpoint named them.") from error


def read_metadata(session: Session, checkpoint: Checkpoint) -> dict[str, str]:
    """Read the metadata of a checkpoint's file."""
    shared = headers.unpack(session.get_one(Trunk, checkpoint.trunk_id).header)
    return shared.metadata | headers.unpack(checkpoint.header).metadata


def read(database: Database, checkpoint: Checkpoint, start: int, stop: int) -> Iterator[bytes]:
    """Read the bytes from `start` to before `stop` of the checkpoint's file, chunk by chunk, in short transactions.

    A tensor that is read whole is checked against its digest; raises CheckpointDamaged.
    """
    with database.reading() as session:
        shared = headers.unpack(session.get_one(Trunk, checkpoint.trunk_id).header)
        own = headers.unpack(checkpoint.header)
        digests = _find_digests(session, checkpoint, shared.entries, own.entries)
    entries = [*shared.entries, *own.entries]
    header = file_header.build(shared.metadata | own.metadata, entries)
    yield from _read_file(database, header, entries, digests, start, stop)


def read_head(database: Database, checkpoint: Checkpoint, start: int, stop: int) -> Iterator[bytes]:
    """Read bytes of the file of a checkpoint's own tensors alone, as `read` does."""
    with database.reading() as session:
        trunk = session.get_one(Trunk, checkpoint.trunk_id)
        shared, own = headers.unpack(trunk.header), headers.unpack(checkpoint.header)
        digests = _find_digests(session, checkpoint, shared.entries, own.entries)
    whole = file_header.Header(shared.metadata | own.metadata, [])
    trunk_digests = {entry.name: digests[entry.name] for entry in shared.entries}
    header = headers.build_head(whole, own.entries, trunk_digests, trunk.digest, checkpoint.digest)
    yield from _read_file(database, header, own.entries, digests, start, stop)


def _read_file(
    database: Database,
    header: bytes,
    entries: Iterable[file_header.Entry],
    digests: dict[str, str],
    start: int,
    stop: int,
) -> Iterator[bytes]:
    position = len(header)
    if start < position:
        yield header[start:stop]
    for entry in file_header.sort_entries(entries):
        first, last = max(start - position, 0), min(stop - position, entry.bytes)
        if first < last:
            yield from _read(database, digests[entry.name], entry.bytes, first, last)
        position += entry.bytes


def _find_digests(
    session: Session, checkpoint: Checkpoint, shared: Sequence[file_header.Entry], own: Sequence[file_header.Entry]
) -> dict[str, str]:
    """Find the digests of a checkpoint's tensors by name."""
    of_trunk = select(TrunkTensor.digest).where(TrunkTensor.trunk_id == checkpoint.trunk_id)
    of_checkpoint = select(CheckpointTensor.digest).where(CheckpointTensor.checkpoint_id == checkpoint.id)
    found = [
        *session.scalars(of_trunk.order_by(TrunkTensor.position)),
        *session.scalars(of_checkpoint.order_by(CheckpointTensor.position)),
    ]
    return {entry.name: digest for entry, digest in zip([*shared, *own], found, strict=False)}


def copy_to_file(database: Database, checkpoint: Checkpoint, path: Path) -> None:
    """Write the checkpoint's file, and check it against its digest; raises CheckpointDamaged."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in read(database, checkpoint, 0, checkpoint.bytes):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != checkpoint.digest:
        raise CheckpointDamaged(f"{checkpoint.id} was changed in the database; restore its backup.")


def list_tensors(database: Database, checkpoint: Checkpoint) -> list[StoredTensor]:
    """List a checkpoint's tensors in the order of its file, without reading any."""
    with database.reading() as session:
        shared = headers.unpack(session.get_one(Trunk, checkpoint.trunk_id).header)
        own = headers.unpack(checkpoint.header)
        digests = _find_digests(session, checkpoint, shared.entries, own.entries)
    entries = file_header.sort_entries([*shared.entries, *own.entries])
    return [StoredTensor(*entry, digests[entry.name], entry.bytes) for entry in entries]


def read_tensor(database: Database, tensor: StoredTensor) -> bytes:
    """Read one tensor whole; raises CheckpointDamaged."""
    return b"".join(_read(database, tensor.digest, tensor.bytes, 0, tensor.bytes))


def collect(database: Database, grace_seconds: float) -> int:
    """Delete trunks of no checkpoint, and tensors that nothing names and no writer has relied on lately.

    Returns how many tensors were deleted.
    """
    without = ~exists().where(Checkpoint.trunk_id == Trunk.id)
    while _remove(database, Trunk, select(Trunk.id).where(without).limit(AT_ONCE)) == AT_ONCE:
        pass
    removed = 0
    old = select(Tensor.digest).where(~is_named(), Tensor.touched_at <= now() - grace_seconds).limit(AT_ONCE)
    while True:
        found = _remove(database, Tensor, old)
        removed += found
        if found < AT_ONCE:
            return removed


def is_named() -> ColumnElement[bool]:
    """Build the SQL of whether a checkpoint or a trunk names a tensor."""
    of_trunk, of_checkpoint = (exists().where(t.digest == Tensor.digest) for t in (TrunkTensor, CheckpointTensor))
    return of_trunk | of_checkpoint


def _remove(database: Database, table: type[Tensor | Trunk], unused: Select[str]) -> int:
    key = Trunk.id if table is Trunk else Tensor.digest
    try:
        with database.writing() as session:
            keys = session.scalars(unused.with_for_update(skip_locked=True)).all()
            session.execute(delete(table).where(key.in_(keys)))
    except IntegrityError:  # one was linked between the two statements; the next run finds the others
        return 0
    return len(keys)


def _locate(entries: Iterable[file_header.Entry], start: int) -> Iterator[tuple[int, int]]:
    """Locate the begin and end of every tensor in a file whose tensors begin at `start`."""
    for entry in entries:
        yield start, start + entry.bytes
        start += entry.bytes


def _number(key: str, value: str, digests: Sequence[str]) -> list[dict[str, Any]]:
    return [{key: value, "position": position, "digest": digest} for position, digest in enumerate(digests)]


def _read_blocks(content: mmap.mmap, start: int, stop: int) -> Iterator[bytes]:
    for place in range(start, stop, CHUNK):
        yield content[place : min(place + CHUNK, stop)]


def _digest(content: mmap.mmap, start: int, stop: int) -> str:
    digest = hashlib.sha256()
    for block in _read_blocks(content, start, stop):
        digest.update(block)
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


def _insert(session: Session, table: type[Tensor | Chunk | Trunk]) -> Any:
    """Build an INSERT with ON CONFLICT, which SQLAlchemy has for each dialect apart."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


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
