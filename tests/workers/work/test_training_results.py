"""The end of a job, on both databases: checkpoint, statistics, predictions and name are there, or none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
import torch
from sqlalchemy import delete, func, select, update

from models.messages import CheckpointWritten, Finished
from models.pipeline.spec import name_predictions, name_statistics
from models.runtime.checkpoint_file import write
from service.checkpoints import deletion
from service.checkpoints import repository as checkpoints
from service.checkpoints.errors import ContentsCollected
from service.models import repository as models
from service.models.errors import ModelNotFound
from service.tables import Checkpoint, Dataset, ImagePredictions, Job, Tensor
from tests.support.jobs import add_jobs, claim_job, event_kinds, read_job
from workers.lease import fence
from workers.work.training import JobAttempt

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database
    from service.settings import Settings

STATISTICS, PREDICTIONS = b"statistics", b"predictions"
TRUNK = torch.arange(1000.0)
FIGURES = {"accuracy": 0.9, "loss": 0.5, "macro_f1": 0.9, "balanced_accuracy": 0.9}


def finish(
    database: Database, settings: Settings, kept: dict[int, Literal["last", "improved"]] | None = None
) -> tuple[JobAttempt, list[bytes]]:
    """Start the only job, and have its child finish; its last events are prepared, and not recorded yet.

    `kept`: epochs of checkpoints beside the best, and the kind of each.
    """
    add_jobs(database, 1)
    with database.writing() as session:
        session.execute(update(Dataset).values(pack="pack", index="index", digest="0" * 64))
        session.execute(update(Job).values(publish={"name": "flowers", "when": "always"}))
    attempt = JobAttempt(database, settings, claim_job(database))
    attempt.fetch_inputs()
    with database.writing() as session:
        order = attempt.start(session, fence(session, attempt.claim))
    order.checkpoint.parent.mkdir(parents=True, exist_ok=True)
    write(order.checkpoint, {"trunk": TRUNK, "head": torch.ones(3)}, {"trained_tensors": '["head"]'})
    name_statistics(order.checkpoint).write_bytes(STATISTICS)
    name_predictions(order.checkpoint).write_bytes(PREDICTIONS)
    ended = Finished(
        stop_reason="epochs_done",
        epoch=1,
        classes=["a"],
        metrics={"validation": FIGURES, "test": FIGURES},
        cache={"hits": 0, "misses": 0, "saved_seconds": 0.0},
        elapsed=1.0,
    )
    lines = [*keep(order.checkpoint, kept or {}), ended.model_dump_json().encode()]
    attempt.prepare(lines)
    return attempt, lines


def keep(checkpoint: Path, epochs: dict[int, Literal["last", "improved"]]) -> list[bytes]:
    """Write checkpoints beside the best, with statistics that name their epoch; returns the messages of them."""
    lines = []
    for epoch, kind in epochs.items():
        path = checkpoint.with_name(f"{kind}-{epoch}.safetensors")
        write(path, {"trunk": TRUNK, "head": torch.full((3,), float(epoch))}, {"trained_tensors": '["head"]'})
        name_statistics(path).write_bytes(b"%d" % epoch)
        name_predictions(path).write_bytes(PREDICTIONS)
        event = CheckpointWritten(kind=kind, epoch=epoch, file=path.name, metrics={"test": {"accuracy": epoch / 10}})
        lines.append(event.model_dump_json().encode())
    return lines


def test_a_job_that_succeeds_has_statistics_and_its_name(database: Database, settings: Settings) -> None:
    attempt, lines = finish(database, settings)
    with database.writing() as session:
        assert attempt.record(session, fence(session, attempt.claim), lines)
    with database.reading() as session:
        checkpoint = models.find_checkpoint(session, "flowers")
        assert checkpoint.job_id == "job_000"
        assert checkpoints.find_statistics(session, [checkpoint.id]) == {checkpoint.id: STATISTICS}
        assert session.get_one(ImagePredictions, checkpoint.id).content == PREDICTIONS
    assert event_kinds(database)[-2:] == ["published", "succeeded"]
    assert read_job(database).status == "succeeded"


def test_a_transaction_that_is_lost_leaves_none_of_them(database: Database, settings: Settings) -> None:
    attempt, lines = finish(database, settings)
    with pytest.raises(ConnectionError), database.writing() as session:
        attempt.record(session, fence(session, attempt.claim), lines)
        raise ConnectionError("before the commit")
    with database.reading() as session:
        assert session.scalar(select(Checkpoint)) is None
        with pytest.raises(ModelNotFound):
            models.find_checkpoint(session, "flowers")
    with database.writing() as session:
        assert attempt.record(session, fence(session, attempt.claim), lines)
    with database.reading() as session:
        assert [move.seq for move in models.find_moves(session, "flowers", after=0, limit=9)] == [1]


def test_kept_epochs_are_checkpoints_too_the_best_first_and_share_the_trunk(
    database: Database, settings: Settings
) -> None:
    attempt, lines = finish(database, settings, {3: "improved", 7: "improved", 9: "last"})
    for _ in range(2):  # as when the connection is lost before the first commit
        attempt.prepare(lines)
    with database.writing() as session:
        assert attempt.record(session, fence(session, attempt.claim), lines)
    with database.reading() as session:
        rows = checkpoints.find_by_job(session, "job_000")
        assert [(row.kind, row.epoch) for row in rows] == [("best", 1), ("last", 9), ("improved", 7), ("improved", 3)]
        assert [row.metrics["test"]["accuracy"] for row in rows] == [0.9, 0.9, 0.7, 0.3]
        statistics = checkpoints.find_statistics(session, [row.id for row in rows])
        assert [statistics[row.id] for row in rows] == [STATISTICS, b"9", b"7", b"3"]
        assert len({row.trunk_id for row in rows}) == 1
        assert session.scalar(select(func.count()).select_from(Tensor)) == 1 + 4, "one trunk and four heads"
        assert models.find_checkpoint(session, "flowers").id == rows[0].id, "the best is published"


def test_contents_that_were_collected_between_are_stored_again(database: Database, settings: Settings) -> None:
    attempt, lines = finish(database, settings, {3: "improved"})
    with database.writing() as session:
        session.execute(delete(Tensor))
    with pytest.raises(ContentsCollected), database.writing() as session:
        attempt.record(session, fence(session, attempt.claim), lines)
    attempt.prepare(lines)
    with database.writing() as session:
        assert attempt.record(session, fence(session, attempt.claim), lines)
    with database.reading() as session:
        assert len(checkpoints.find_by_job(session, "job_000")) == 2


def test_deleting_a_checkpoint_deletes_its_statistics_and_predictions(database: Database, settings: Settings) -> None:
    attempt, lines = finish(database, settings)
    with database.writing() as session:
        attempt.record(session, fence(session, attempt.claim), lines)
    with database.writing() as session:
        found = models.find_checkpoint(session, "flowers").id
        models.delete(session, "flowers", created_by=None)
        deletion.delete(session, found, deleted_by=None)
    with database.reading() as session:
        assert checkpoints.find_statistics(session, [found]) == {}
        assert session.get(ImagePredictions, found) is None
