"""HTTP of exports: their state, and their files by content?format=."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from service import tables
from service.checkpoints import repository as checkpoints
from service.checkpoints.downloads import build_headers, give_content, read_stored
from service.database import Database
from service.dependencies import DatabaseDep
from service.exports import repository
from service.exports.errors import ExportFailed
from service.exports.options import FORMATS, ExportOptions
from service.exports.schemas import Export
from service.pagination import Page
from service.statuses import ExportStatus
from service.storage import Storage
from service.wakeup import Queue

router = APIRouter(prefix="/v1/checkpoints", tags=["checkpoints"])

POLL_SECONDS = 1
"""Time after which a request for an export that is being made is sent again."""


@router.get("/{checkpoint_id}/exports")
def list_exports(checkpoint_id: str, database: DatabaseDep) -> Page[Export]:
    """List the exports of a checkpoint that were asked for, the oldest first."""
    with database.reading() as session:
        checkpoints.get(session, checkpoint_id)
        found = [Export.from_row(row) for row in repository.find_by_checkpoint(session, checkpoint_id)]
    return Page.from_items(found, len(found))


@router.get("/{checkpoint_id}/exports/{export_id}")
def get_export(checkpoint_id: str, export_id: str, database: DatabaseDep) -> Export:
    """Get an export: its state, and what was measured of it."""
    with database.reading() as session:
        return Export.from_row(repository.get(session, checkpoint_id, export_id))


def give_export(
    request: Request,
    database: Database,
    storage: Storage,
    queue: Queue,
    checkpoint: tables.Checkpoint,
    format: str,
    options: ExportOptions,
) -> Response:
    """Give a checkpoint in another format, or 202 while a worker makes it. Raises ExportFailed, ExportOptionUnfit."""
    row = require_export(database, queue, checkpoint, format, options)
    if row.status == ExportStatus.EXPORTING:
        return answer_exporting(row)
    assert row.file is not None
    assert row.digest is not None
    assert row.bytes is not None
    headers = build_headers(checkpoint.name_file(FORMATS[format]), row.digest)
    return give_content(request, row.bytes, headers, partial(read_stored, storage, row.file))


def require_export(
    database: Database, queue: Queue, checkpoint: tables.Checkpoint, format: str, options: ExportOptions
) -> tables.Export:
    """Find an export that is ready, or have a worker make it. Raises ExportFailed, ExportOptionUnfit."""
    with database.reading() as session:
        row = repository.find(session, checkpoint.id, format, options)
    if row is None or row.status == ExportStatus.FAILED:
        with database.writing() as session:
            row = repository.request(session, checkpoint.id, format, options)
        queue.wake()
    if row.status == ExportStatus.FAILED:
        error = row.error or {}
        failed = ExportFailed(error.get("message", "The export failed."))
        raise failed
    return row


def answer_exporting(row: tables.Export) -> JSONResponse:
    """Answer that a worker makes an export, and where it is to be polled."""
    headers = {"Location": f"/v1/checkpoints/{row.checkpoint_id}/exports/{row.id}", "Retry-After": str(POLL_SECONDS)}
    return JSONResponse(Export.from_row(row).model_dump(mode="json"), 202, headers)
