"""Dependencies of endpoints: the application's database, storage, queue and settings, and common headers.

All are coroutines, though none waits: FastAPI would hand plain functions to a thread, one after another.
"""

import hashlib
from typing import Annotated

from fastapi import Depends, Header, Request

from service.database import Database
from service.settings import Settings
from service.storage import Storage
from service.wakeup import Queue


async def _get_database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


async def _get_storage(request: Request) -> Storage:
    storage: Storage = request.app.state.storage
    return storage


async def _get_queue(request: Request) -> Queue:
    queue: Queue = request.app.state.queue
    return queue


async def _get_settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _digest_body(request: Request) -> str:
    """SHA-256 of the request's address and of its body as it was sent, in hex.

    Not of the parsed body: that has defaults, which an upgrade between two tries of one request may change.
    """
    body = await request.body()
    return hashlib.sha256(f"{request.method} {request.url.path}\n".encode() + body).hexdigest()


async def _get_key(request: Request) -> str | None:
    """Get the id of the API key that the request was sent with; None where none is asked for."""
    key: str | None = request.state.key
    return key


DatabaseDep = Annotated[Database, Depends(_get_database)]
StorageDep = Annotated[Storage, Depends(_get_storage)]
QueueDep = Annotated[Queue, Depends(_get_queue)]
SettingsDep = Annotated[Settings, Depends(_get_settings)]
CreatedByDep = Annotated[str | None, Depends(_get_key)]
BodyDigestDep = Annotated[str, Depends(_digest_body)]
IdempotencyKeyDep = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Repeating a request with the same key returns what the first one created.",
    ),
]
