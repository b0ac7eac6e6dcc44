"""Attempts at exports: a child makes the file, the storage keeps it, and the row says what was measured."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

from sqlalchemy import update

from service.exports import repository
from service.exports.options import ExportOptions
from service.storage import Storage
from service.tables import Chunk, Export
from tests.support.checkpoints import add_trained_checkpoint
from workers.lease import claim
from workers.supervisor import Supervisor
from workers.work.exporting import ExportAttempt

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database
    from service.settings import Settings


def make(database: Database, settings: Settings, checkpoint: str, format: str) -> Export:
    """Ask for an export and run an attempt at it; the row after that."""
    with database.writing() as session:
        row = repository.request(session, checkpoint, format, ExportOptions())
    with database.writing() as session:
        held = claim(session, Export, "exporting", "exporting", "w", 60)
    assert held is not None
    Supervisor(database, settings, held, ExportAttempt(database, settings, held), threading.Event()).run()
    with database.reading() as session:
        return repository.get(session, checkpoint, row.id)


def test_an_export_is_made_once_and_measured(database: Database, settings: Settings, trained: Path) -> None:
    settings = settings.model_copy(update={"storage_url": trained.as_uri()})
    checkpoint = add_trained_checkpoint(database, trained)
    made = make(database, settings, checkpoint, "onnx")
    assert (made.status, made.error) == ("ready", None)
    assert made.report is not None
    assert made.report["parity"]["equal_labels"] == 1.0
    assert made.file is not None
    with Storage(settings.storage).reading(made.file) as file:
        content = file.read()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (made.bytes, made.digest)
    with database.writing() as session:
        assert repository.request(session, checkpoint, "onnx", ExportOptions()).id == made.id
        assert claim(session, Export, "exporting", "exporting", "w", 60) is None
        assert repository.find_file_keys(session) == {made.file}
    assert not list(settings.scratch.glob("*"))


def test_a_checkpoint_that_is_damaged_is_not_exported(database: Database, settings: Settings, trained: Path) -> None:
    settings = settings.model_copy(update={"storage_url": trained.as_uri()})
    checkpoint = add_trained_checkpoint(database, trained)
    with database.writing() as session:
        session.execute(update(Chunk).values(data=b"\0"))
    made = make(database, settings, checkpoint, "pt2")
    assert made.status == "failed"
    assert made.error is not None
    assert made.error["code"] == "checkpoint_damaged"
    assert "restore its backup" in made.error["message"]
