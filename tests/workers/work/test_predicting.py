"""Attempts at batch predictions: a child predicts, the storage keeps parts and results, and the row tells."""

from __future__ import annotations

import csv
import hashlib
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from models.runtime.supervisor_callbacks import Context
from service import queued_work
from service.batch_predictions import creation, repository
from service.batch_predictions.schemas import PredictionCreate
from service.settings import Settings
from service.storage import Storage
from service.tables import BatchEvent, BatchPart, BatchPrediction, Chunk
from tests.support.checkpoints import add_trained_checkpoint
from workers import scratch
from workers.entrypoints import predicting
from workers.lease import Claim, claim, fence
from workers.supervisor import Supervisor
from workers.work.predicting import PredictionAttempt, StoredPart

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database


@pytest.fixture
def settings(trained: Path, database: Database, settings: Settings) -> Settings:
    """Settings by which each batch of images is a part."""
    return Settings(
        data=settings.data,
        database_url=database.url,
        storage_url=trained.as_uri(),
        snapshot_seconds=1e-9,
        device="cpu",
    )


def create(database: Database, trained: Path) -> str:
    """Ask for a batch prediction of the checkpoint on the images of its job."""
    checkpoint = add_trained_checkpoint(database, trained)
    with database.writing() as session:
        asked = PredictionCreate(dataset="ds_1", models=[checkpoint], top_k=2)
        return creation.create_prediction(session, asked).id


def take(database: Database) -> Claim[BatchPrediction]:
    with database.writing() as session:
        held = claim(session, BatchPrediction, "queued", "running", "w", 60)
    assert held is not None
    return held


def run(database: Database, settings: Settings) -> BatchPrediction:
    """Claim it and run an attempt; the row after that."""
    held = take(database)
    Supervisor(database, settings, held, PredictionAttempt(database, settings, held), threading.Event()).run()
    assert not scratch.choose_folder(settings.scratch, held).exists()
    with database.reading() as session:
        return repository.get(session, held.id)


def run_until_first_part(database: Database, settings: Settings) -> tuple[PredictionAttempt, StoredPart]:
    """Run an attempt as a supervisor does, and leave it when its first part is recorded, as by kill -9."""
    held = take(database)
    attempt = PredictionAttempt(database, settings, held)
    attempt.fetch_inputs()
    with database.writing() as session:
        order = attempt.start(session, fence(session, held))
    for message in predicting.work(order, Context()):
        with database.writing() as session:
            assert not attempt.record(session, fence(session, held), [message.model_dump_json().encode()])
        if isinstance(message, StoredPart):
            with database.writing() as session:
                session.execute(update(BatchPrediction).values(lease_until=1.0))
            return attempt, message
    raise AssertionError("it stored no part")


def read(settings: Settings, row: BatchPrediction, format: str) -> bytes:
    assert row.files is not None
    with Storage(settings.storage).reading(row.files[format]["key"]) as file:
        content = file.read()
    assert len(content) == row.files[format]["bytes"]
    assert hashlib.sha256(content).hexdigest() == row.files[format]["digest"]
    return content


def read_rows(settings: Settings, row: BatchPrediction) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read(settings, row, "jsonl").splitlines()]


def kinds(database: Database) -> list[str]:
    with database.reading() as session:
        return list(session.scalars(select(BatchEvent.kind).order_by(BatchEvent.seq)))


def test_every_image_has_a_row_in_every_format(database: Database, settings: Settings, trained: Path) -> None:
    create(database, trained)
    row = run(database, settings)
    assert (row.status, row.error) == ("succeeded", None)
    assert (row.progress["images"], row.progress["errors"], row.progress["percent"]) == (90, 0, 100.0)
    rows = read_rows(settings, row)
    assert len({each["digest"] for each in rows}) == 90
    right = sum(each["predictions"][0]["classes"][0]["name"] == each["labels"][0] for each in rows)
    assert right > 80
    table = list(csv.reader(read(settings, row, "csv").decode().splitlines()))
    assert [cells[1] for cells in table[1:]] == [each["digest"] for each in rows]
    assert read(settings, row, "parquet")[:4] == b"PAR1"
    assert kinds(database) == ["queued", "started", "succeeded"]
    with database.reading() as session:
        assert repository.find_parts(session, row.id) == []
        keys = repository.find_file_keys(session)
    folder = trained / "predictions" / row.id
    assert {f"predictions/{row.id}/{path.name}" for path in folder.iterdir()} == keys, "parts are removed"


def test_it_resumes_behind_what_is_stored(database: Database, settings: Settings, trained: Path) -> None:
    create(database, trained)
    attempt, part = run_until_first_part(database, settings)
    assert (part.first, part.images) == (0, 64)
    stored = (trained / part.key).read_bytes()
    row = run(database, settings)
    assert (row.status, row.attempt, row.crashes) == ("succeeded", 2, 0)
    assert kinds(database) == ["queued", "started", "crashed", "started", "succeeded"]
    assert read(settings, row, "jsonl").startswith(stored), "rows that were stored are kept as they are"
    assert len({each["digest"] for each in read_rows(settings, row)}) == 90
    attempt.clean_up(is_over=False)
    assert row.files is not None
    assert (trained / row.files["csv"]["key"]).exists()
    with database.reading() as session:
        (started,) = queued_work.find_events(session, row.id, 3, 1, table=BatchPrediction)
    assert started.data == {"attempt": 2, "images": 64}


@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_damaged_part_is_computed_again(database: Database, settings: Settings, trained: Path, how: str) -> None:
    create(database, trained)
    _, part = run_until_first_part(database, settings)
    if how == "changed":
        (trained / part.key).write_bytes(b"{}\n")
    else:
        (trained / part.key).unlink()
    row = run(database, settings)
    assert (row.status, len({each["digest"] for each in read_rows(settings, row)})) == ("succeeded", 90)


def test_a_worker_that_stops_keeps_what_is_done(database: Database, settings: Settings, trained: Path) -> None:
    create(database, trained)
    held = take(database)
    attempt = PredictionAttempt(database, settings, held)
    attempt.fetch_inputs()
    with database.writing() as session:
        order = attempt.start(session, fence(session, held))
    order = order.model_copy(update={"settings": order.settings.model_copy(update={"snapshot_seconds": 60.0})})
    for message in predicting.work(order, Context(snapshot_requested=lambda: True)):
        with database.writing() as session:
            assert not attempt.record(session, fence(session, held), [message.model_dump_json().encode()])
    with database.writing() as session:
        attempt.drain(session, fence(session, held))
    with database.reading() as session:
        row = repository.get(session, held.id)
        parts = repository.find_parts(session, held.id)
    assert (row.status, row.lease_until, row.progress["images"]) == ("queued", None, 64)
    assert [each.images for each in parts] == [64]


def test_a_cancelled_one_leaves_nothing(database: Database, settings: Settings, trained: Path) -> None:
    prediction = create(database, trained)
    run_until_first_part(database, settings)
    with database.writing() as session:
        queued_work.cancel(session, repository.get(session, prediction, lock=True))
        row = repository.get(session, prediction)
        assert row.status == "cancelling"
        queued_work.interrupt(session, row)
    with database.reading() as session:
        assert session.scalars(select(BatchPart)).all() == []
        assert repository.get(session, prediction).status == "cancelled"
    assert kinds(database)[-1] == "cancelled"


def test_a_model_that_cannot_be_loaded_fails_it_by_name(database: Database, settings: Settings, trained: Path) -> None:
    create(database, trained)
    with database.writing() as session:
        session.execute(update(Chunk).values(data=b"\0"))
    row = run(database, settings)
    assert row.status == "failed"
    assert row.error is not None
    assert row.error["code"] == "model_unloadable"
    assert "restore its backup" in row.error["message"]
