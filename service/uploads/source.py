"""Sources: JSON bodies that name a resumable upload in place of a body with the file itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from service import json_body
from service.json_body import MAX_BYTES
from service.uploads import parts, repository, tus
from service.uploads.errors import UploadCutOff

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message

    from service.database import Database
    from service.storage import Storage

Body = TypeVar("Body", bound=BaseModel)

SOURCE = re.compile(rb'"source"\s*:\s*\{\s*"upload"\s*:')
"""Part of such a body; other JSON may be a network's file."""
PRETRAIN = re.compile(rb'"pretrain"\s*:')
"""Part of a body that asks for a backbone's pretraining, and has no file."""
START_BYTES = 1 << 20
"""Bytes of a file by which it is recognized."""


async def read_source(request: Request) -> tuple[dict[str, Any] | None, Request]:
    """Read the body if it is JSON that names an upload, or asks for a pretraining.

    Returns it, and a request from which it can be read again.

    Raises UploadCutOff, RequestValidationError.
    """
    taken: list[Message] = []
    body = bytearray()
    try:
        while True:
            message = await request.receive()
            taken.append(message)
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            is_json = bytes(body.lstrip()[:1]) in (b"{", b"")
            if not is_json or len(body) > MAX_BYTES or not message.get("more_body", False):
                break
    except ClientDisconnect as error:
        raise UploadCutOff("The connection ended before the body did. Send it again.") from error

    async def receive() -> Message:
        return taken.pop(0) if taken else await request.receive()

    again = Request(request.scope, receive)
    is_read = (SOURCE.search(body) or PRETRAIN.search(body)) and body.lstrip().startswith(b"{")
    value = json_body.parse(request, bytes(body)) if is_read and len(body) <= MAX_BYTES else {}
    return (value if isinstance(value.get("source"), dict) or "pretrain" in value else None), again


class PreparedUpload(NamedTuple):
    """A complete upload that can be used."""

    bytes: int
    file_name: str
    """As its sender calls it; empty where that is not known."""


def prepare(
    database: Database, storage: Storage, upload_id: str, check_start: Callable[[bytes], None]
) -> PreparedUpload:
    """Prepare a complete upload for use: check how the file begins, and list its parts beside them.

    Raises UploadUnknown, UploadIncomplete, UploadUsed, StorageUnavailable, and what `check_start` raises.
    """
    with database.reading() as session:
        upload = repository.get_source(session, upload_id)
        listed = repository.list_parts(session, upload_id)
    parts.write_list(storage, upload_id, listed)
    with parts.reading(storage, parts.get_folder(upload_id)) as file:
        check_start(file.read(START_BYTES))
    assert upload.bytes is not None
    names = tus.parse_metadata(upload.details)
    return PreparedUpload(upload.bytes, names.get("filename") or names.get("name") or "")


def parse(model: type[Body], value: dict[str, Any]) -> Body:
    """Parse the JSON of a body. Raises RequestValidationError."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        errors = [{**found, "loc": ("body", *found["loc"])} for found in error.errors(include_url=False)]
        raise RequestValidationError(errors) from None
