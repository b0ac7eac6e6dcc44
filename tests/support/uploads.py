"""Uploaded backbones in a database and a storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.backbones import imports
from service.backbones.options import ImportOptions
from service.storage import Storage
from service.tables import BackboneEvent, new_id

if TYPE_CHECKING:
    from service.database import Database


def add_upload(
    database: Database, storage: str, content: bytes, samples: bytes | None = None, **options: object
) -> str:
    """Add a backbone to import; gives its id."""
    backbone = new_id("bb")
    folder = imports.get_folder(backbone)
    files = {"upload": content} | ({} if samples is None else {"samples": samples})
    for name, data in files.items():
        with Storage(storage).writing(f"{folder}/{name}") as file:
            file.write(data)
    with database.writing() as session:
        imports.create(
            session,
            backbone,
            name="net.onnx",
            options=ImportOptions.model_validate(options),
            upload=f"{folder}/upload",
            samples=None if samples is None else f"{folder}/samples",
            size=len(content),
            digest="00" * 32,
        )
    return backbone


def list_import_events(database: Database, backbone: str) -> list[BackboneEvent]:
    """List the events of an import; they are numbered without gaps."""
    with database.reading() as session:
        events = imports.find_events(session, backbone, -1, 1000)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return events
