"""HTTP of uploaded backbones, and of those that are pretrained."""

from __future__ import annotations

import hashlib
import logging
from functools import partial
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import OperationalError
from ulid import ULID

from service import idempotency, json_body, tables
from service.backbones import creation, imports, repository, upload
from service.backbones.options import ImportOptions, PretrainingCreate
from service.backbones.schemas import BackboneCreate, InspectedBackbone
from service.database import Database
from service.dependencies import CreatedByDep, DatabaseDep, IdempotencyKeyDep, QueueDep, SettingsDep, StorageDep
from service.documentation import write_schema
from service.event_stream import RESPONSES, Accept, Event, EventLog, LastEventId, give_events
from service.pagination import After, Page, PageSize
from service.storage import Storage, StorageUnavailable
from service.types import Text
from service.uploads import parts, source
from service.uploads import repository as uploads
from service.uploads.receiving import Received

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/backbones", tags=["backbones"])

EVENT_LOG = EventLog(repository.get, imports.is_over, imports.find_events)
FILE = {"type": "string", "format": "binary"}
TEXTS = {name: {"type": "string"} for name in ("name", "format", "architecture", "preprocessing", "labels")}
UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"anyOf": [write_schema(BackboneCreate), write_schema(PretrainingCreate)]}},
            "application/octet-stream": {"schema": FILE},
            "application/zip": {"schema": FILE},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": FILE, "samples": FILE, **TEXTS},
                    "required": ["file"],
                }
            },
        },
    }
}
ANSWER = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": write_schema(ImportOptions)},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"samples": FILE, **{name: TEXTS[name] for name in upload.LATER_FORM.fields}},
                }
            },
        },
    }
}


@router.post("", status_code=202, openapi_extra=UPLOAD)
async def create_backbone(
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
    format: Annotated[str | None, Query(description="The file's format, if it must be this one.")] = None,
    architecture: Annotated[
        str | None, Query(description="Architecture of weights that do not say theirs: timm's, or torchvision/NAME.")
    ] = None,
    preprocessing: Annotated[
        str | None, Query(description='JSON such as {"mean": [0.5, 0.5, 0.5]}, or from_samples.')
    ] = None,
    labels: Annotated[
        str | None, Query(description="Names of its classifier's classes, a JSON list or a line for each.")
    ] = None,
) -> InspectedBackbone:
    """Upload a pretrained network as the body or in a form, or name a resumable upload as JSON; or pretrain one.

    Poll the backbone until it is ready, or follow its events. Taken are single files and archives of folders:
    docs/importing.md lists the formats. JSON with `pretrain` has a worker pretrain a backbone on a dataset's images.
    """
    backbone_id = tables.new_id("bb")
    query = {"format": format, "architecture": architecture, "preprocessing": preprocessing, "labels": labels}
    upload.parse_options(query, {})  # before a long upload
    folder = imports.get_folder(backbone_id)
    keys = {"file": f"{folder}/upload", "samples": f"{folder}/samples"}
    value, request = await source.read_source(request)
    if value is not None and "pretrain" in value:
        wanted = source.parse(PretrainingCreate, value)
        backbone = await run_in_threadpool(_create_pretrained, database, backbone_id, wanted, key, created_by)
        tasks.add_task(queue.wake)
        response.headers["Location"] = f"/v1/backbones/{backbone.id}"
        return backbone
    if value is not None:
        given = {"name": name, **query}
        asked = upload.parse_creation({**{field: text for field, text in given.items() if text}, **value})
        backbone = await run_in_threadpool(
            _create_from_upload, database, storage, backbone_id, asked, settings.max_backbone_bytes, key, created_by
        )
        tasks.add_task(queue.wake)
        response.headers["Location"] = f"/v1/backbones/{backbone.id}"
        return backbone
    try:
        received = await upload.receive_backbone(request, storage, keys, settings.max_backbone_bytes)
        options = upload.parse_options(query, received.fields)
        named = upload.choose_name(name, received)
    except BaseException:
        await run_in_threadpool(_delete_files, storage, folder)
        raise
    backbone = await run_in_threadpool(
        _create, database, storage, backbone_id, named, options, received, key, created_by
    )
    tasks.add_task(queue.wake)
    response.headers["Location"] = f"/v1/backbones/{backbone.id}"
    return backbone


@router.post("/{backbone_id:path}/preprocessing", status_code=202, openapi_extra=ANSWER)
async def answer_import(
    backbone_id: str,
    request: Request,
    response: Response,
    tasks: BackgroundTasks,
    database: DatabaseDep,
    storage: StorageDep,
    queue: QueueDep,
    settings: SettingsDep,
) -> InspectedBackbone:
    """Go on with an import that failed because something must be known: preprocessing, labels, samples.

    The body is JSON, or a form that may hold samples: a .zip of images in a folder for each class that is expected. The
    network's file need not be sent again.
    """
    await run_in_threadpool(_require_waiting, database, backbone_id)
    samples: str | None = None
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        key = f"{imports.get_folder(backbone_id)}/samples.{ULID()}"
        received = await upload.receive_samples(request, storage, key, settings.max_backbone_bytes)
        samples = key if "samples" in received.files else None
        options = upload.parse_options({}, received.fields)
    else:
        options = upload.parse_answer(json_body.parse(request, await request.body()))
    upload.require_answer(options, has_samples=samples is not None)
    backbone = await run_in_threadpool(_answer, database, storage, backbone_id, options, samples)
    tasks.add_task(queue.wake)
    response.headers["Location"] = f"/v1/backbones/{backbone_id}"
    return backbone


@router.get("/{name:path}/events", response_model=Page[Event], responses=RESPONSES)
def list_import_events(
    request: Request,
    name: str,
    database: DatabaseDep,
    limit: PageSize = 100,
    after: After = None,
    accept: Accept = "application/json",
    last_event_id: LastEventId = None,
) -> Page[Event] | Response:
    """List events of an import or a pretraining; with `Accept: text/event-stream`, all live until it ends."""
    return give_events(
        request, database, EVENT_LOG, name, limit=limit, after=after, accept=accept, last_event_id=last_event_id
    )


@router.delete("/{name:path}", status_code=204)
def delete_backbone(name: str, database: DatabaseDep, storage: StorageDep) -> None:
    """Delete an uploaded or pretrained backbone that no job uses; its import or its pretraining ends."""
    with database.writing() as session:
        imports.delete(session, name)
    _delete_files(storage, imports.get_folder(name))


def _create(
    database: Database,
    storage: Storage,
    backbone_id: str,
    name: str,
    options: ImportOptions,
    received: Received,
    key: str | None,
    created_by: str | None,
) -> InspectedBackbone:
    digests = "\n".join(f"{part} {file.digest}" for part, file in sorted(received.files.items()))
    request = _hash_request(name, options, digests)
    folder = imports.get_folder(backbone_id)
    try:
        with database.writing() as session:
            create = partial(
                imports.create,
                session,
                backbone_id,
                name=name,
                options=options,
                upload=f"{folder}/upload",
                samples=f"{folder}/samples" if "samples" in received.files else None,
                size=received.files["file"].bytes,
                digest=received.files["file"].digest,
                created_by=created_by,
            )
            row = idempotency.create_once(session, key, request, tables.Backbone, create)
            backbone = InspectedBackbone.from_row(row)
    except OperationalError:
        # The row may have been committed before the connection broke. If it was not, the sweep finds the files.
        raise
    except BaseException:
        storage.delete(folder)
        raise
    if backbone.id != backbone_id:  # after the transaction, which holds a lock, and the storage may be slow
        _delete_files(storage, folder)
    return backbone


def _create_from_upload(
    database: Database,
    storage: Storage,
    backbone_id: str,
    asked: BackboneCreate,
    limit: int,
    key: str | None,
    created_by: str | None,
) -> InspectedBackbone:
    """Add a backbone whose file is a resumable upload; or find the one that the key created."""
    upload_id = asked.source.upload
    options = ImportOptions.model_validate(asked.model_dump(exclude={"name", "source"}))
    request = _hash_request(asked.name, options, upload_id)
    with database.reading() as session:
        row = idempotency.find_earlier(session, key, request, tables.Backbone)
        if row is not None:
            return InspectedBackbone.from_row(row)
    prepared = source.prepare(database, storage, upload_id, upload.check_start)
    upload.check_size(prepared.bytes, limit)

    def create() -> tables.Backbone:
        uploads.use(session, upload_id, backbone_id)
        return imports.create(
            session,
            backbone_id,
            name=asked.name or upload.clean_name(prepared.file_name),
            options=options,
            upload=parts.get_folder(upload_id),
            samples=None,
            size=prepared.bytes,
            digest=None,  # the worker that reads it computes it
            created_by=created_by,
        )

    with database.writing() as session:
        return InspectedBackbone.from_row(idempotency.create_once(session, key, request, tables.Backbone, create))


def _create_pretrained(
    database: Database, backbone_id: str, wanted: PretrainingCreate, key: str | None, created_by: str | None
) -> InspectedBackbone:
    """Add a backbone that a worker will pretrain; or find the one that the key created."""
    request = hashlib.sha256(f"POST /v1/backbones\n{wanted.model_dump_json()}".encode()).hexdigest()
    create = partial(creation.create_pretrained, backbone_id=backbone_id, wanted=wanted, created_by=created_by)
    with database.writing() as session:
        row = idempotency.create_once(session, key, request, tables.Backbone, partial(create, session))
        return InspectedBackbone.from_row(row)


def _hash_request(name: str, options: ImportOptions, digests: str) -> str:
    asked = f"POST /v1/backbones\n{name}\n{options.model_dump_json(exclude_none=True)}\n{digests}"
    return hashlib.sha256(asked.encode()).hexdigest()


def _require_waiting(database: Database, backbone_id: str) -> None:
    """Check, before a long upload, that the import waits for an answer."""
    with database.reading() as session:
        imports.require_waiting(imports.get_uploaded(session, backbone_id))


def _answer(
    database: Database, storage: Storage, backbone_id: str, options: ImportOptions, samples: str | None
) -> InspectedBackbone:
    try:
        with database.writing() as session:
            row = imports.answer(session, backbone_id, options, samples)
            session.flush()
            return InspectedBackbone.from_row(row)
    except OperationalError:
        raise  # as in _create
    except BaseException:
        if samples is not None:
            storage.delete(samples)
        raise


def _delete_files(storage: Storage, prefix: str) -> None:
    try:
        storage.delete(prefix)
    except StorageUnavailable as error:
        log.warning("the sweep will remove %s: %s", prefix, error)
