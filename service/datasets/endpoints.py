"""HTTP of datasets."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator
from sqlalchemy.exc import OperationalError

from service import idempotency, range_requests, tables
from service.database import Database
from service.datasets import images, repository, skipped, thumbnails, upload
from service.datasets.schemas import Dataset, DatasetCreate, DatasetSummary, Image, SkippedFileItem
from service.dependencies import CreatedByDep, DatabaseDep, IdempotencyKeyDep, QueueDep, SettingsDep, StorageDep
from service.documentation import write_schema
from service.jobs import predictions
from service.pagination import After, Page, PageSize, shaped_like
from service.predictions.forwarding import Forwarding, pass_on
from service.query_parameters import none_if_empty
from service.statuses import DatasetStatus
from service.storage import Storage, StorageUnavailable
from service.types import Text
from service.uploads import parts, source
from service.uploads import repository as uploads

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

FORM = {"file": {"type": "string", "format": "binary"}, "name": {"type": "string"}}
ARCHIVE = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}}
            for kind in (
                "application/zip",
                "application/x-tar",
                "application/gzip",
                "application/octet-stream",
            )
        }
        | {"multipart/form-data": {"schema": {"type": "object", "properties": FORM, "required": ["file"]}}}
        | {"application/json": {"schema": write_schema(DatasetCreate)}},
    }
}


@router.post("", status_code=202, openapi_extra=ARCHIVE)
async def create_dataset(
    request: Request,
    response: Response,
    tasks: BackgroundTasks,
    database: DatabaseDep,
    storage: StorageDep,
    queue: QueueDep,
    settings: SettingsDep,
    created_by: CreatedByDep,
    key: IdempotencyKeyDep = None,
    name: Annotated[Text, Query(description="A name for people.")] = "",
    labels: Annotated[
        Literal["auto", "none"],
        Query(description="auto: as folders or tables of the archive give them; none: the images are unlabelled."),
    ] = "auto",
) -> Dataset:
    """Upload a .zip, .tar or .tar.gz of images as the body, or name a resumable upload as JSON.

    Poll the dataset until it is validated.
    """
    dataset_id = tables.new_id("ds")
    value, request = await source.read_source(request)
    if value is not None:
        asked = source.parse(DatasetCreate, {"name": name, "labels": labels, **value})
        row = _build_row(dataset_id, asked.name, created_by, asked.labels, parts.get_folder(asked.source.upload))
        dataset = await run_in_threadpool(_create_from_upload, database, storage, row, asked.source.upload, key)
    else:
        archive = f"{repository.get_folder(dataset_id)}/archive"
        received = await upload.receive_archive(request, storage, archive, settings.max_archive_bytes)
        row = _build_row(dataset_id, name or received.name, created_by, labels, archive)
        dataset = await run_in_threadpool(_create, database, storage, row, received.digest, key)
    tasks.add_task(queue.wake)
    response.headers["Location"] = f"/v1/datasets/{dataset.id}"
    return dataset


@router.get("")
def list_datasets(
    database: DatabaseDep,
    limit: PageSize = 20,
    after: Annotated[After, shaped_like("ds")] = None,
    status: Annotated[DatasetStatus | None, BeforeValidator(none_if_empty), Query()] = None,
) -> Page[DatasetSummary]:
    """List datasets, newest first, without their reports."""
    with database.reading() as session:
        rows = repository.find_page(session, limit=limit, after=after, status=status)
    return Page.from_items([DatasetSummary.model_validate(row) for row in rows], limit)


@router.get("/{dataset_id}")
def get_dataset(dataset_id: str, database: DatabaseDep) -> Dataset:
    """Get a dataset, with the report of its validation."""
    with database.reading() as session:
        return Dataset.model_validate(repository.get(session, dataset_id))


@router.get(
    "/{dataset_id}/skipped",
    response_model=Page[SkippedFileItem],
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def list_skipped_files(
    dataset_id: str,
    request: Request,
    database: DatabaseDep,
    storage: StorageDep,
    limit: PageSize = 20,
    after: After = None,
) -> Page[SkippedFileItem] | StreamingResponse:
    """List the files of the archive that are not used, and why; with `Accept: text/csv` all of them as one table."""
    with database.reading() as session:
        found = skipped.find_list(repository.get(session, dataset_id))
    if "text/csv" in request.headers.get("accept", ""):
        return StreamingResponse(found.stream_csv(storage), media_type="text/csv")
    return Page.from_items(found.read_page(storage, limit, after), limit)


@router.get("/{dataset_id}/images")
def list_images(
    dataset_id: str,
    database: DatabaseDep,
    storage: StorageDep,
    limit: PageSize = 100,
    after: After = None,
    label: Annotated[str | None, BeforeValidator(none_if_empty), Query(description="Name of a class.")] = None,
    split: Annotated[Literal["train", "validation", "test"] | None, BeforeValidator(none_if_empty), Query()] = None,
    flag: Annotated[
        str | None, BeforeValidator(none_if_empty), Query(description="What is notable, as in an image's `flags`.")
    ] = None,
    job: Annotated[
        str | None, BeforeValidator(none_if_empty), Query(description="A job whose own split is meant by `split`.")
    ] = None,
) -> Page[Image]:
    """List the accepted images of a dataset: digests, labels, splits, flags and sizes."""
    found, splits = open_images(dataset_id, database, storage), None
    if job is not None:
        with database.reading() as session:
            checkpoint = predictions.find_of_dataset(session, job, dataset_id)
        splits = predictions.read(database, checkpoint).override_splits(found.index.splits)
    return Page.from_items(found.read_page(limit, after, label, split, flag, splits), limit)


@router.get(
    "/{dataset_id}/images/{digest}",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}, "image/jpeg": {}}},
        304: {"description": "If-None-Match names it"},
    },
)
async def download_image(
    dataset_id: str,
    digest: str,
    request: Request,
    database: DatabaseDep,
    storage: StorageDep,
    size: Annotated[
        int | None,
        Query(ge=1, le=max(thumbnails.SIZES), description="Longest side of a thumbnail; 64, 128, 256 or 512."),
        BeforeValidator(none_if_empty),
    ] = None,
) -> Response:
    """Download the file of an image as it was uploaded, which no browser opens; with `size`, a thumbnail."""
    if size is None:
        return await run_in_threadpool(_download_image, dataset_id, digest, request, database, storage)
    return await _get_thumbnail(dataset_id, digest, size, request, database, storage)


def _download_image(dataset_id: str, digest: str, request: Request, database: Database, storage: Storage) -> Response:
    """Stream a file. It may be anything, so browsers are told to open nothing."""
    file = open_images(dataset_id, database, storage).find_file(digest)
    name = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(file.name).name) or "image"
    headers = {
        "ETag": f'"{digest.lower()}"',
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, no-cache",
    }
    if range_requests.is_unchanged(request.headers, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(file.length)
    return StreamingResponse(file.read_blocks(), headers=headers, media_type="application/octet-stream")


async def _get_thumbnail(
    dataset_id: str, digest: str, size: int, request: Request, database: Database, storage: Storage
) -> Response:
    """Have a predictor make a thumbnail, unless the caller has it."""
    found = await run_in_threadpool(open_images, dataset_id, database, storage)
    order = found.order_thumbnail(digest, size)
    headers = {
        "ETag": f'"{order.digest}.{order.size}"',
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, max-age=31536000, immutable",
    }
    if range_requests.is_unchanged(request.headers, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    forwarding: Forwarding = request.app.state.forwarding
    answer = await forwarding.ask(order.to_bytes(), thumbnails.PATH)
    if answer.status != 200:
        return pass_on(request, answer)
    return Response(answer.content, headers=headers, media_type="image/jpeg")


def open_images(dataset_id: str, database: Database, storage: Storage) -> images.ImageList:
    """Open the index of a dataset's images. Raises as `list_images`."""
    with database.reading() as session:
        dataset = repository.get(session, dataset_id)
    return images.ImageList(dataset, storage)


@router.delete("/{dataset_id}", status_code=204)
def delete_dataset(dataset_id: str, database: DatabaseDep, storage: StorageDep) -> None:
    """Delete a dataset that no job uses, and its images."""
    with database.writing() as session:
        repository.delete(session, dataset_id)
    _delete_files(storage, dataset_id)


def _build_row(dataset_id: str, name: str, created_by: str | None, labels: str, archive: str) -> tables.Dataset:
    return tables.Dataset(
        id=dataset_id,
        name=name,
        created_by=created_by,
        labels=labels,
        status=DatasetStatus.VALIDATING,
        archive=archive,
        attempt=0,
        crashes=0,
        images=0,
        classes=[],
    )


def _hash_request(new: tables.Dataset, digest: str) -> str:
    asked = "" if new.labels == "auto" else f"\nlabels={new.labels}"
    return hashlib.sha256(f"POST /v1/datasets\n{new.name}\n{digest}{asked}".encode()).hexdigest()


def _create_from_upload(
    database: Database, storage: Storage, new: tables.Dataset, upload_id: str, key: str | None
) -> Dataset:
    """Add a dataset whose archive is a resumable upload; or find the one that the key created."""
    request = _hash_request(new, upload_id)
    with database.reading() as session:
        row = idempotency.find_earlier(session, key, request, tables.Dataset)
        if row is not None:
            return Dataset.model_validate(row)
    source.prepare(database, storage, upload_id, upload.check_magic)

    def create() -> tables.Dataset:
        uploads.use(session, upload_id, new.id)
        session.add(new)
        return new

    with database.writing() as session:
        return Dataset.model_validate(idempotency.create_once(session, key, request, tables.Dataset, create))


def _create(database: Database, storage: Storage, new: tables.Dataset, digest: str, key: str | None) -> Dataset:
    """Add a dataset whose archive, with this digest, is in the storage; or find the one that the key created."""
    dataset_id = new.id
    request = _hash_request(new, digest)

    def create() -> tables.Dataset:
        session.add(new)
        return new

    try:
        with database.writing() as session:
            dataset = Dataset.model_validate(idempotency.create_once(session, key, request, tables.Dataset, create))
    except OperationalError:
        # The row may have been committed before the connection broke. If it was not, the sweep finds the archive.
        raise
    except BaseException:
        storage.delete(repository.get_folder(dataset_id))
        raise
    if dataset.id != dataset_id:  # after the transaction, which holds a lock, and the storage may be slow
        _delete_files(storage, dataset_id)
    return dataset


def _delete_files(storage: Storage, dataset_id: str) -> None:
    try:
        storage.delete(repository.get_folder(dataset_id))
    except StorageUnavailable as error:
        log.warning("the sweep will remove the files of %s: %s", dataset_id, error)
