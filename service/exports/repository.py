"""Every query about exports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from service.database import lock_name
from service.exports.errors import ExportNotFound
from service.statuses import ExportStatus
from service.tables import Export, new_id, now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from service.exports.options import ExportOptions

FOLDER = "exports"
"""The folder of all exports in the storage."""
RETRY_SECONDS = 60.0
"""Time after a failed export at which a request has it tried again."""


def get_folder(export_id: str) -> str:
    """Get the folder of an export's file in the storage."""
    return f"{FOLDER}/{export_id}"


def get(session: Session, checkpoint_id: str, export_id: str) -> Export:
    """Get an export of a checkpoint; raises ExportNotFound."""
    found = session.get(Export, export_id)
    if found is None or found.checkpoint_id != checkpoint_id:
        raise ExportNotFound(f"There is no export {export_id} of {checkpoint_id}.")
    return found


def find_by_checkpoint(session: Session, checkpoint_id: str) -> Sequence[Export]:
    """Find the exports of a checkpoint, the oldest first."""
    return session.scalars(select(Export).where(Export.checkpoint_id == checkpoint_id).order_by(Export.id)).all()


def find(session: Session, checkpoint_id: str, format: str, options: ExportOptions) -> Export | None:
    """Find the export of a checkpoint in this format with these options; None if nobody has asked for it."""
    variant = options.name_variant(format)
    return session.scalar(select(Export).where(Export.checkpoint_id == checkpoint_id, Export.variant == variant))


def request(session: Session, checkpoint_id: str, format: str, options: ExportOptions) -> Export:
    """Find an export, and have a worker make it unless that is done, under way, or failed just now."""
    variant = options.name_variant(format)
    lock_name(session, f"export {checkpoint_id} {variant}")
    found = find(session, checkpoint_id, format, options)
    if found is None:
        found = Export(
            id=new_id("exp"),
            checkpoint_id=checkpoint_id,
            format=format,
            variant=variant,
            options=options.model_dump(),
            status=ExportStatus.EXPORTING,
            attempt=0,
            crashes=0,
        )
        session.add(found)
        session.flush()
    elif found.status == ExportStatus.FAILED:
        failed_at = found.finished_at or 0.0
        if session.scalars(select(now())).one() - failed_at > RETRY_SECONDS:
            found.status, found.crashes, found.error = ExportStatus.EXPORTING, 0, None
    return found


def accept(session: Session, export: Export, *, file: str, size: int, digest: str, report: dict[str, Any]) -> None:
    """Accept the file of the locked export: exporting → ready."""
    export.file, export.bytes, export.digest, export.report = file, size, digest, report
    export.end(session, ExportStatus.READY)


def reject(session: Session, export: Export, code: str, message: str) -> None:
    """Reject the locked export: exporting → failed."""
    export.error = {"code": code, "message": message}
    export.end(session, ExportStatus.FAILED)


def find_file_keys(session: Session) -> set[str]:
    """Find the storage keys of all exports."""
    return {key for key in session.scalars(select(Export.file)) if key is not None}
