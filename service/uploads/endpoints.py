"""HTTP of resumable uploads: tus 1.0.0."""

from __future__ import annotations

import logging

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from service import tables
from service.database import Database
from service.dependencies import CreatedByDep, DatabaseDep, SettingsDep, StorageDep
from service.storage import Storage, StorageUnavailable
from service.uploads import pieces, repository, tus
from service.uploads.parts import get_folder
from service.uploads.schemas import Upload

log = logging.getLogger(__name__)

router = APIRouter(prefix=tus.PATH, tags=["uploads"])

PIECE = {"requestBody": {"content": {tus.PIECE_TYPE: {"schema": {"type": "string", "format": "binary"}}}}}


@router.options("", status_code=204)
async def describe_protocol(settings: SettingsDep) -> Response:
    """Describe what of tus is offered: its version, extensions, checksums, and the largest file."""
    headers = {
        "Tus-Extension": tus.EXTENSIONS,
        "Tus-Max-Size": str(settings.max_archive_bytes),
        "Tus-Checksum-Algorithm": ",".join(tus.CHECKSUMS),
    }
    return Response(status_code=204, headers=headers)


@router.post("", status_code=201, openapi_extra=PIECE)
async def create_upload(
    request: Request, database: DatabaseDep, storage: StorageDep, settings: SettingsDep, created_by: CreatedByDep
) -> Response:
    """Begin a resumable upload (tus 1.0.0): Upload-Length in, its address out as Location. The body may be a piece.

    A dataset or a backbone then names it as its source: {"source": {"upload": "up_…"}}.
    """
    tus.check_version(request.headers)
    size = tus.parse_size(request.headers, settings.max_archive_bytes)
    metadata = request.headers.get("upload-metadata", "").strip()
    tus.parse_metadata(metadata)
    has_piece = "content-type" in request.headers
    if has_piece:
        tus.check_piece(request.headers)
    upload = await run_in_threadpool(_create, database, size, metadata, created_by)
    if has_piece:
        upload = await _add(request, database, storage, upload.id, 0, settings.max_archive_bytes)
    headers = {**tus.describe(upload), "Location": f"{tus.PATH}/{upload.id}"}
    return Response(status_code=201, headers=headers)


@router.head("/{upload_id}", include_in_schema=False)
def get_offset(upload_id: str, request: Request, database: DatabaseDep) -> Response:
    """Get the number of bytes that have come, as Upload-Offset: the next piece begins there."""
    if "tus-resumable" in request.headers:
        tus.check_version(request.headers)
    with database.reading() as session:
        return Response(headers=tus.describe(repository.get(session, upload_id)))


@router.get("/{upload_id}")
def get_upload(upload_id: str, database: DatabaseDep) -> Upload:
    """Get the state of a resumable upload."""
    with database.reading() as session:
        return Upload.from_row(repository.get(session, upload_id))


@router.patch("/{upload_id}", status_code=204, openapi_extra=PIECE)
async def add_piece(
    upload_id: str, request: Request, database: DatabaseDep, storage: StorageDep, settings: SettingsDep
) -> Response:
    """Send the piece that begins at Upload-Offset. After a broken connection, HEAD tells where to go on."""
    tus.check_version(request.headers)
    tus.check_piece(request.headers)
    offset = tus.parse_offset(request.headers)
    upload = await _add(request, database, storage, upload_id, offset, settings.max_archive_bytes)
    return Response(status_code=204, headers=tus.describe(upload))


@router.delete("/{upload_id}", status_code=204)
def delete_upload(upload_id: str, request: Request, database: DatabaseDep, storage: StorageDep) -> Response:
    """Delete an upload that nothing was made of, and its bytes."""
    tus.check_version(request.headers)
    with database.writing() as session:
        repository.delete_upload(session, upload_id)
    try:
        storage.delete(get_folder(upload_id))
    except StorageUnavailable as error:
        log.warning("the sweep will remove the files of %s: %s", upload_id, error)
    return Response(status_code=204)


@router.post("/{upload_id}", include_in_schema=False)
async def override_method(
    upload_id: str, request: Request, database: DatabaseDep, storage: StorageDep, settings: SettingsDep
) -> Response:
    """Do what X-HTTP-Method-Override says, for clients behind proxies that pass only GET and POST."""
    method = request.headers.get("x-http-method-override", "").upper()
    if method == "PATCH":
        return await add_piece(upload_id, request, database, storage, settings)
    if method == "DELETE":
        return await run_in_threadpool(delete_upload, upload_id, request, database, storage)
    raise HTTPException(405)


async def _add(
    request: Request, database: Database, storage: Storage, upload_id: str, offset: int, limit: int
) -> tables.Upload:
    """Add the body to an upload that ends at `offset`; returns the upload."""
    size, checksum = tus.parse_late_size(request.headers, limit), tus.parse_checksum(request.headers)
    length = request.headers.get("content-length", "0")
    upload = await run_in_threadpool(_begin, database, upload_id, offset, int(length), size, limit)
    await pieces.receive(request.stream(), database, storage, upload, limit, checksum)
    return await run_in_threadpool(_get, database, upload_id)


def _create(database: Database, size: int | None, metadata: str, created_by: str | None) -> tables.Upload:
    with database.writing() as session:
        return repository.create(session, size=size, metadata=metadata, created_by=created_by)


def _begin(database: Database, upload_id: str, offset: int, piece: int, size: int | None, limit: int) -> tables.Upload:
    with database.writing() as session:
        return repository.begin_writing(session, upload_id, offset=offset, piece=piece, size=size, limit=limit)


def _get(database: Database, upload_id: str) -> tables.Upload:
    with database.reading() as session:
        return repository.get(session, upload_id)
