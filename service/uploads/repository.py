"""Every query about resumable uploads, and their transitions. Only the request that has the lease adds to an upload."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import delete, select, update

from service.tables import Upload, UploadPart, new_id, now
from service.uploads.errors import (
    OffsetMismatch,
    UploadIncomplete,
    UploadLocked,
    UploadNotFound,
    UploadTooLarge,
    UploadUnknown,
    UploadUsed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

KEEP_SECONDS = 7 * 86400.0
"""Time after its last piece for which an upload is kept."""
LEASE_SECONDS = 5.0
"""Time without a byte after which another request may add to an upload: its sender has lost the connection."""


class Part(NamedTuple):
    """A piece in the storage."""

    start: int
    bytes: int
    name: str


def create(session: Session, *, size: int | None, metadata: str, created_by: str | None) -> Upload:
    """Add an upload that is empty so far; `created_by` is the id of an API key."""
    upload = Upload(id=new_id("up"), bytes=size, offset=0, details=metadata, created_by=created_by)
    upload.expires_at = _compute_expiry(session)
    session.add(upload)
    session.flush()
    return upload


def get(session: Session, upload_id: str, *, lock: bool = False) -> Upload:
    """Get an upload, with `lock` locked until the transaction ends; raises UploadNotFound."""
    upload = session.get(Upload, upload_id, with_for_update=lock or None)
    if upload is None or upload.expires_at < session.scalars(select(now())).one():
        days = KEEP_SECONDS / 86400
        raise UploadNotFound(
            f"There is no upload {upload_id}. One that was not used or added to for {days:.0f} days is deleted; begin "
            "anew: POST /v1/uploads."
        )
    return upload


def begin_writing(session: Session, upload_id: str, *, offset: int, piece: int, size: int | None, limit: int) -> Upload:
    """Give this request the lease of an upload that ends at `offset`; its `writer` is the request from now on.

    piece: bytes of the request, as far as they are known; size: that of the whole file, if the request tells it; limit:
    that of any file here. Raises UploadNotFound,
    UploadUsed, UploadLocked, OffsetMismatch, UploadTooLarge.
    """
    upload = get(session, upload_id, lock=True)
    require_unused(upload)
    time = session.scalars(select(now())).one()
    if upload.writer is not None and (upload.lease_until or 0.0) > time:
        raise UploadLocked(
            f"Another request adds to {upload_id} now. Ask for its Upload-Offset in some seconds, and go on there."
        )
    if upload.offset != offset:
        raise OffsetMismatch(
            f"Upload {upload_id} has {upload.offset} bytes; a piece that begins at {offset} is not next."
        )
    if size is not None and upload.bytes not in (None, size):
        raise OffsetMismatch(f"Upload {upload_id} was announced with {upload.bytes} bytes, not {size}.")
    upload.bytes = upload.bytes if size is None else size
    most = limit if upload.bytes is None else upload.bytes
    if offset + piece > most:
        raise UploadTooLarge(
            f"Upload {upload_id} may have {most} bytes; a piece of {piece} after the {offset} that it has is too much."
        )
    upload.writer, upload.lease_until = new_id("wr"), time + LEASE_SECONDS
    return upload


def renew_lease(session: Session, upload_id: str, writer: str) -> None:
    """Keep the lease while bytes come. Raises UploadLocked once another request has it, UploadNotFound."""
    _get_leased(session, upload_id, writer).lease_until = session.scalars(select(now())).one() + LEASE_SECONDS


def add_parts(session: Session, upload_id: str, writer: str, parts: Sequence[Part]) -> None:
    """Add pieces that are in the storage, and renew the lease. Raises UploadLocked, UploadNotFound."""
    upload = _get_leased(session, upload_id, writer)
    for part in parts:
        assert part.start == upload.offset
        session.add(UploadPart(upload_id=upload_id, **part._asdict()))
        upload.offset += part.bytes
    upload.lease_until = session.scalars(select(now())).one() + LEASE_SECONDS
    upload.expires_at = _compute_expiry(session)


def end_writing(session: Session, upload_id: str, writer: str) -> None:
    """Give the lease back, if this request still has it."""
    mine = update(Upload).where(Upload.id == upload_id, Upload.writer == writer)
    session.execute(mine.values(writer=None, lease_until=None))


def list_parts(session: Session, upload_id: str) -> list[Part]:
    """List the pieces of an upload in their order."""
    rows = session.scalars(select(UploadPart).where(UploadPart.upload_id == upload_id).order_by(UploadPart.start))
    return [Part(row.start, row.bytes, row.name) for row in rows]


def get_source(session: Session, upload_id: str, *, lock: bool = False) -> Upload:
    """Get an upload that a dataset or a backbone can be made of. Raises UploadUnknown, UploadIncomplete, UploadUsed."""
    try:
        upload = get(session, upload_id, lock=lock)
    except UploadNotFound as error:
        raise UploadUnknown(error.detail) from None
    require_unused(upload)
    if upload.offset != upload.bytes:
        size = "an unknown number" if upload.bytes is None else upload.bytes
        raise UploadIncomplete(f"Upload {upload_id} has {upload.offset} of {size} bytes. Send the rest first.")
    return upload


def use(session: Session, upload_id: str, user: str) -> None:
    """Mark a complete upload as used by a dataset or a backbone. Raises as `get_source`."""
    get_source(session, upload_id, lock=True).used_by = user
    session.execute(delete(UploadPart).where(UploadPart.upload_id == upload_id))  # a file in the storage lists them


def delete_upload(session: Session, upload_id: str) -> None:
    """Delete an upload, whoever adds to it. Raises UploadNotFound, UploadUsed."""
    upload = get(session, upload_id, lock=True)
    require_unused(upload)
    session.delete(upload)


def require_unused(upload: Upload) -> None:
    """Check that nothing has been made of the upload. Raises UploadUsed."""
    if upload.used_by is not None:
        raise UploadUsed(f"{upload.used_by} has been made of upload {upload.id}. Send the file again to use it twice.")


def delete_expired(session: Session) -> None:
    """Delete the uploads that nobody has used or added to for KEEP_SECONDS."""
    session.execute(delete(Upload).where(Upload.expires_at < now()))


def list_unused(session: Session) -> Sequence[str]:
    """List the ids of the uploads that nothing has been made of."""
    return session.scalars(select(Upload.id).where(Upload.used_by.is_(None))).all()


def _get_leased(session: Session, upload_id: str, writer: str) -> Upload:
    upload = get(session, upload_id, lock=True)
    if upload.writer != writer:
        raise UploadLocked(f"Another request continues {upload_id} now, since no bytes came for {LEASE_SECONDS:.0f} s.")
    return upload


def _compute_expiry(session: Session) -> float:
    return session.scalars(select(now())).one() + KEEP_SECONDS
