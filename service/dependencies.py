"""What endpoints ask for by type: the parts that the application made at its start."""

from typing import Annotated

from fastapi import Depends, Header, Request

from service.database import Database
from service.settings import Settings
from service.storage import Storage
from service.wakeup import Queue


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _storage(request: Request) -> Storage:
    storage: Storage = request.app.state.storage
    return storage


def _queue(request: Request) -> Queue:
    queue: Queue = request.app.state.queue
    return queue


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


DatabaseDep = Annotated[Database, Depends(_database)]
StorageDep = Annotated[Storage, Depends(_storage)]
QueueDep = Annotated[Queue, Depends(_queue)]
SettingsDep = Annotated[Settings, Depends(_settings)]
IdempotencyKeyDep = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="The same key with the same request gives the same thing again, instead of another.",
    ),
]
