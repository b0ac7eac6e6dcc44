"""HTTP of checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Literal

from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session

from service import range_requests, tables
from service.checkpoints import blobs, deletion, lineage, repository, retention
from service.checkpoints.downloads import build_headers, give_content
from service.checkpoints.errors import FormatNotOffered
from service.checkpoints.retention import Rules
from service.checkpoints.schemas import Checkpoint, RetentionRequest, RetentionResult
from service.checkpoints.sources import Source, read_source
from service.datasets import repository as datasets
from service.dependencies import CreatedByDep, DatabaseDep, QueueDep, StorageDep
from service.exports.endpoints import give_export
from service.exports.options import FORMATS, ExportOptions
from service.jobs import repository as jobs
from service.json_body import JsonRoute
from service.pagination import Page
from service.storage import StorageUnavailable

router = APIRouter(prefix="/v1", tags=["checkpoints"], route_class=JsonRoute)


@router.get("/jobs/{job_id}/checkpoints")
def list_checkpoints(job_id: str, database: DatabaseDep) -> Page[Checkpoint]:
    """List the checkpoints of a job, the best first."""
    with database.reading() as session:
        jobs.get(session, job_id)
        rows = repository.find_by_job(session, job_id)
        items = _build_checkpoints(session, rows)
    return Page.from_items(items, len(items))


@router.get("/checkpoints/{checkpoint_id}")
def get_checkpoint(checkpoint_id: str, database: DatabaseDep) -> Checkpoint:
    """Get a checkpoint: its metrics, classes and artifacts."""
    with database.reading() as session:
        row = repository.get(session, checkpoint_id)
        (checkpoint,) = _build_checkpoints(session, [row])
    return checkpoint


@router.get("/checkpoints/{checkpoint_id}/lineage")
def get_lineage(checkpoint_id: str, database: DatabaseDep) -> lineage.Lineage:
    """Get where a checkpoint comes from (datasets, backbones and jobs), its names, and the jobs that go on from it."""
    with database.reading() as session:
        return lineage.trace(session, checkpoint_id)


@router.delete("/checkpoints/{checkpoint_id}", status_code=204)
def delete_checkpoint(checkpoint_id: str, database: DatabaseDep, storage: StorageDep, deleted_by: CreatedByDep) -> None:
    """Delete a checkpoint and its exports; 409 while a name points at it, a job goes on from it, or one is made.

    The sweep frees the bytes that no other needs. What lineage needs of it is remembered.
    """
    with database.writing() as session:
        files = deletion.delete(session, checkpoint_id, deleted_by=deleted_by)
    with suppress(StorageUnavailable):  # the sweep removes them later
        for file in files:
            storage.delete(file)


@router.post("/checkpoints/retention")
def enforce_retention(
    body: RetentionRequest, database: DatabaseDep, storage: StorageDep, deleted_by: CreatedByDep
) -> RetentionResult:
    """Delete checkpoints but the best, the newest and the young ones; with `dry_run`, the default, say which.

    Those that a name points at, that a job goes on from or that are exported just now are never deleted.
    """
    with database.reading() as session:
        if body.dataset is not None:
            datasets.get(session, body.dataset)
        if body.job is not None:
            jobs.get(session, body.job)
    rules = Rules(body.keep_newest, body.keep_best, body.keep_days, body.dataset, body.job)
    if body.dry_run:
        return RetentionResult.from_outcome(retention.plan(database, rules), dry_run=True)
    return RetentionResult.from_outcome(
        retention.enforce(database, storage, rules, deleted_by=deleted_by), dry_run=False
    )


@router.head("/checkpoints/{checkpoint_id}/content", include_in_schema=False)
@router.get(
    "/checkpoints/{checkpoint_id}/content",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}, "text/x-python": {}}},
        202: {"description": "A worker makes the file: ask again, or poll the export at Location"},
        206: {"description": "The range of bytes that was asked for"},
        304: {"description": "If-None-Match names the same bytes"},
        416: {"description": "No byte lies in the range"},
    },
)
def download_checkpoint(
    request: Request,
    checkpoint_id: str,
    database: DatabaseDep,
    storage: StorageDep,
    queue: QueueDep,
    format: str = "safetensors",
    preprocessing: bool = False,
    resize: bool = False,
    softmax: bool = False,
    precision: Literal["float32", "int8"] = "float32",
) -> Response:
    """Download the checkpoint's file. Range, If-Range and If-None-Match let a broken download resume.

    `format=head` gives what differs from the backbone alone, kilobytes under a linear head; `graft assemble` makes the
    whole file of it. `format=python` gives source that builds the network with torch alone, where no library does.
    A worker makes onnx, pt2, bundle and hub when they are first asked for; until then the answer is 202.
    """
    offered = ("safetensors", "head", "python", *FORMATS)
    if format not in offered:
        raise FormatNotOffered(f"Checkpoints are not available as {format}; formats are {', '.join(offered)}.")
    options = ExportOptions(preprocessing=preprocessing, resize=resize, softmax=softmax, precision=precision)
    options.name_variant(format)
    with database.reading() as session:
        checkpoint = repository.get(session, checkpoint_id)
        source = read_source(session, checkpoint) if format == "python" else None
    if format == "python":
        return _give_source(request, checkpoint, source)
    if format in FORMATS:
        return give_export(request, database, storage, queue, checkpoint, format, options)
    if format == "head":
        headers = build_headers(checkpoint.name_file("head.safetensors"), checkpoint.head_digest)
        read = partial(blobs.read_head, database, checkpoint)
        return give_content(request, checkpoint.head_bytes, headers, read)
    headers = build_headers(checkpoint.name_file("safetensors"), checkpoint.digest)
    return give_content(request, checkpoint.bytes, headers, partial(blobs.read, database, checkpoint))


def _build_checkpoints(session: Session, rows: Sequence[tables.Checkpoint]) -> list[Checkpoint]:
    parents = repository.find_parents(session, rows)
    statistics = repository.find_sizes(session, tables.PredictionStatistics, rows)
    predictions = repository.find_sizes(session, tables.ImagePredictions, rows)
    names = repository.find_names(session, [row.id for row in rows])
    return [
        Checkpoint.from_row(
            row,
            parents.get(row.id),
            names[row.id],
            statistics.get(row.id),
            predictions.get(row.id),
            read_source(session, row),
        )
        for row in rows
    ]


def _give_source(request: Request, checkpoint: tables.Checkpoint, source: Source | None) -> Response:
    """Give the Python source of a network, which is too short for ranges."""
    if source is None:
        raise FormatNotOffered(
            f"{checkpoint.id} needs no Python source: timm or torchvision builds its network from the metadata of "
            "format=safetensors."
        )
    headers = build_headers(checkpoint.name_file("py"), source.digest) | {"Accept-Ranges": "none"}
    if range_requests.is_unchanged(request.headers, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(source.content, headers=headers, media_type="text/x-python")
