"""HTTP of checkpoints."""

from __future__ import annotations

import base64
import re

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from service import range_requests, tables
from service.checkpoints import blobs, repository
from service.checkpoints.errors import FormatNotOffered
from service.checkpoints.schemas import Checkpoint
from service.dependencies import DatabaseDep
from service.jobs import repository as jobs
from service.pagination import Page
from service.problems import build_problem

router = APIRouter(prefix="/v1", tags=["checkpoints"])


@router.get("/jobs/{job_id}/checkpoints")
def list_checkpoints(job_id: str, database: DatabaseDep) -> Page[Checkpoint]:
    """List the checkpoints of a job, the best first."""
    with database.reading() as session:
        jobs.get(session, job_id)
        rows = repository.find_by_job(session, job_id)
    return Page.from_items([Checkpoint.from_row(row) for row in rows], len(rows))


@router.get("/checkpoints/{checkpoint_id}")
def get_checkpoint(checkpoint_id: str, database: DatabaseDep) -> Checkpoint:
    """Get a checkpoint: its metrics, classes and artifacts."""
    with database.reading() as session:
        return Checkpoint.from_row(repository.get(session, checkpoint_id))


@router.delete("/checkpoints/{checkpoint_id}", status_code=204)
def delete_checkpoint(checkpoint_id: str, database: DatabaseDep) -> None:
    """Delete a checkpoint. The sweep frees the bytes that no other needs."""
    with database.writing() as session:
        repository.delete(session, checkpoint_id)


@router.head("/checkpoints/{checkpoint_id}/content", include_in_schema=False)
@router.get(
    "/checkpoints/{checkpoint_id}/content",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}},
        206: {"description": "The range of bytes that was asked for"},
        304: {"description": "If-None-Match names the same bytes"},
        416: {"description": "No byte lies in the range"},
    },
)
def download_checkpoint(
    request: Request, checkpoint_id: str, database: DatabaseDep, format: str = "safetensors"
) -> Response:
    """Download the checkpoint's file. Range, If-Range and If-None-Match let a broken download resume."""
    if format != "safetensors":
        raise FormatNotOffered(f"Checkpoints are not available as {format}; use format=safetensors.")
    with database.reading() as session:
        checkpoint = repository.get(session, checkpoint_id)
    etag = f'"{checkpoint.digest}"'
    headers = _build_headers(checkpoint, etag)
    if range_requests.is_unchanged(request.headers, etag):
        return Response(status_code=304, headers=headers)
    # Only GET has ranges (RFC 9110, 14.2).
    span = range_requests.parse_range(request.headers, etag, checkpoint.bytes) if request.method == "GET" else None
    if span is not None and span.start >= checkpoint.bytes:
        detail = f"The file has {checkpoint.bytes} bytes; ask for a range that begins before its end."
        size = {"Content-Range": f"bytes */{checkpoint.bytes}"}
        return build_problem(request, 416, "range_not_satisfiable", detail, headers=size)
    start, stop = span or (0, checkpoint.bytes)
    headers["Content-Length"] = str(stop - start)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{checkpoint.bytes}"
    status = 200 if span is None else 206
    media_type = "application/octet-stream"
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    content = blobs.read(database, checkpoint, start, stop)
    return StreamingResponse(content, status, headers, media_type)


def _build_headers(checkpoint: tables.Checkpoint, etag: str) -> dict[str, str]:
    digest = base64.b64encode(bytes.fromhex(checkpoint.digest)).decode()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", f"{checkpoint.job_id}-{checkpoint.kind}.safetensors")
    return {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Repr-Digest": f"sha-256=:{digest}:",
        "Content-Disposition": f'attachment; filename="{name}"',
        # The bytes of an id never change, but the id may be deleted.
        "Cache-Control": "private, no-cache",
    }
