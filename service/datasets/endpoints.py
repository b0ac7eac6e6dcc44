"""HTTP of datasets."""

from __future__ import annotations

import hashlib
import logging
from typing import Annotated, Literal

from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BeforeValidator
from sqlalchemy.exc import OperationalError

from service import idempotency, tables
from service.database import Database
from service.datasets import repository, skipped, upload
from service.datasets.schemas import Dataset, DatasetSummary, SkippedFileItem
from service.dependencies import DatabaseDep, IdempotencyKeyDep, QueueDep, SettingsDep, StorageDep
from service.pagination import After, Page, PageSize, shaped_like
from service.query_parameters import none_if_empty
from service.statuses import DatasetStatus
from service.storage import Storage, StorageUnavailable
from service.types import Text

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
        | {"multipart/form-data": {"schema": {"type": "object", "properties": FORM, "required": ["file"]}}},
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
    key: IdempotencyKeyDep = None,
    name: Annotated[Text, Query(description="A name for people.")] = "",
    labels: Annotated[
        Literal["auto", "none"],
        Query(description="auto: as folders or tables of the archive give them; none: the images are unlabelled."),
    ] = "auto",
) -> Dataset:
    """Upload a .zip, .tar or .tar.gz of images as the body. Poll the dataset until it is validated."""
    dataset_id = tables.new_id("ds")
    archive = f"{repository.get_folder(dataset_id)}/archive"
    received = await upload.receive(request, storage, archive, settings.max_archive_bytes)
    name, digest = name or received.name, received.digest
    dataset = await run_in_threadpool(_create, database, storage, dataset_id, name, labels, archive, digest, key)
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


@router.delete("/{dataset_id}", status_code=204)
def delete_dataset(dataset_id: str, database: DatabaseDep, storage: StorageDep) -> None:
    """Delete a dataset that no job uses, and its images."""
    with database.writing() as session:
        repository.delete(session, dataset_id)
    _delete_files(storage, dataset_id)


def _create(
    database: Database,
    storage: Storage,
    dataset_id: str,
    name: str,
    labels: str,
    archive: str,
    digest: str,
    key: str | None,
) -> Dataset:
    asked = "" if labels == "auto" else f"\nlabels={labels}"
    request = hashlib.sha256(f"POST /v1/datasets\n{name}\n{digest}{asked}".encode()).hexdigest()
    try:
        with database.writing() as session:
            row = idempotency.find_earlier(session, key, request, tables.Dataset) if key else None
            if row is None:
                row = tables.Dataset(
                    id=dataset_id,
                    name=name,
                    labels=labels,
                    status=DatasetStatus.VALIDATING,
                    archive=archive,
                    attempt=0,
                    crashes=0,
                    images=0,
                    classes=[],
                )
                session.add(row)
                if key:
                    idempotency.remember(session, key, request, dataset_id)
                session.flush()
                session.refresh(row)
            dataset = Dataset.model_validate(row)
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
