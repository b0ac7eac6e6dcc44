"""An attempt at a job, on both databases: it goes on from the newest snapshot, and keeps no more than that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from sqlalchemy import func, select, update

from models.messages import EpochEnded, Noted, PhaseStarted, ProgressSaved
from models.pipeline import training_state
from service.jobs import snapshots
from service.tables import Chunk, Dataset, Epoch, Event, Job, Tensor
from tests.support.jobs import add_jobs, claim_job, event_kinds, read_job
from workers.lease import fence
from workers.work.training import JobAttempt

if TYPE_CHECKING:
    from models.pipeline.spec import TrainingSpec
    from service.database import Database
    from service.settings import Settings


def begun(database: Database, settings: Settings) -> tuple[JobAttempt, TrainingSpec]:
    """Claim and start the next attempt at the only job."""
    with database.writing() as session:
        session.execute(update(Job).values(lease_until=None, worker=None))
        session.execute(update(Dataset).values(pack="pack", index="index", digest="0" * 64))
    attempt = JobAttempt(database, settings, claim_job(database))
    attempt.fetch_inputs()
    with database.writing() as session:
        return attempt, attempt.start(session, fence(session, attempt.claim))


def take(attempt: JobAttempt, name: str, epoch: int) -> bytes:
    """Its child has taken a snapshot after an epoch; gives the file."""
    attempt.scratch.mkdir(parents=True, exist_ok=True)
    training_state.write(attempt.scratch / name, {"weights": torch.full((8,), float(epoch)), "best": torch.ones(8)})
    content = (attempt.scratch / name).read_bytes()
    figures = dict.fromkeys(("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"), 0.5)
    ended = EpochEnded(epoch=epoch, view=0, lr=0.1, seconds=0.1, cache_hits=0, cache_misses=0, **figures)
    lines = [event.model_dump_json().encode() for event in (ended, ProgressSaved(snapshot=name, epoch=epoch))]
    attempt.prepare(lines)
    with attempt.database.writing() as session:
        assert not attempt.record(session, fence(session, attempt.claim), lines)
    return content


def test_the_first_attempt_has_no_snapshot(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    _, order = begun(database, settings)
    assert order.snapshot is None


def test_the_next_attempt_gets_the_newest_snapshot(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    first, _ = begun(database, settings)
    take(first, "snapshot-0.safetensors", 1)
    newest = take(first, "snapshot-1.safetensors", 2)
    first.clean_up(is_over=False)
    with database.writing() as session:
        session.add(
            Epoch(
                job_id="job_000",
                epoch=3,
                view=0,
                lr=0,
                seconds=0,
                cache_hits=0,
                cache_misses=0,
                train_loss=0,
                train_accuracy=0,
                validation_loss=0,
                validation_accuracy=0,
            )
        )
    _, order = begun(database, settings)
    assert order.snapshot is not None
    assert order.snapshot.read_bytes() == newest
    with database.reading() as session:
        epochs = session.scalars(select(Epoch.epoch).order_by(Epoch.epoch)).all()
    assert list(epochs) == [1, 2], "what came after it is done again"


def test_a_snapshot_that_the_child_cannot_read_takes_its_epochs_with_it(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    attempt, _ = begun(database, settings)
    take(attempt, "snapshot-0.safetensors", 1)
    attempt, _ = begun(database, settings)
    note = Noted(level="warning", kind="snapshot_unreadable", message="The snapshot cannot be read")
    with database.writing() as session:
        attempt.record(session, fence(session, attempt.claim), [note.model_dump_json().encode()])
    with database.reading() as session:
        assert session.scalars(select(Epoch.epoch)).all() == []
    assert event_kinds(database)[-1] == "snapshot_unreadable"


def test_a_snapshot_takes_the_place_of_the_one_before(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    attempt, _ = begun(database, settings)
    for epoch in (1, 2, 3):
        take(attempt, f"snapshot-{epoch}.safetensors", epoch)
    assert [path.name for path in attempt.scratch.iterdir()] == ["snapshot-3.safetensors"]
    attempt.prepare([])
    assert list(attempt.scratch.iterdir()) == []
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Tensor)) == 2, "of the newest, and the best"


def test_progress_resets_the_count_of_crashes(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    attempt, _ = begun(database, settings)
    with database.writing() as session:
        session.execute(update(Job).values(crashes=2))
    take(attempt, "snapshot-0.safetensors", 1)
    with database.reading() as session:
        assert session.get_one(Job, "job_000").crashes == 0


def test_a_damaged_snapshot_is_told_and_the_job_begins_anew(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    first, _ = begun(database, settings)
    take(first, "snapshot-0.safetensors", 1)
    with database.writing() as session:
        session.execute(update(Chunk).values(data=b"x" * 32))
    _, order = begun(database, settings)
    assert order.snapshot is None
    assert "snapshot_damaged" in event_kinds(database)
    with database.reading() as session:
        assert snapshots.of_job(session, "job_000") is None
        assert session.scalar(select(func.count()).select_from(Epoch)) == 0


def test_a_worker_that_died_is_reported_by_the_next_attempt(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    claim_job(database, "dead", seconds=-1.0)
    attempt = JobAttempt(database, settings, claim_job(database))
    with database.writing() as session:
        session.execute(update(Dataset).values(pack="pack", index="index", digest="0" * 64))
        attempt.start(session, fence(session, attempt.claim))
    with database.reading() as session:
        (crash,) = session.scalars(select(Event).where(Event.kind == "crashed"))
    assert crash.data == {"cause": "worker_died", "attempt": 1, "worker": "dead"}


def test_events_that_are_recorded_again_after_a_rollback_count_once(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    attempt, _ = begun(database, settings)
    phases = PhaseStarted(phase="caching", elapsed=1.5), PhaseStarted(phase="training", elapsed=4.0)
    lines = [phase.model_dump_json().encode() for phase in phases]
    with pytest.raises(ConnectionError), database.writing() as session:
        attempt.record(session, fence(session, attempt.claim), lines)
        raise ConnectionError("before the commit")
    assert not attempt.can_save_progress
    with database.writing() as session:
        attempt.record(session, fence(session, attempt.claim), lines)
    attempt.confirm(lines)
    assert attempt.can_save_progress
    assert read_job(database).seconds == {"preparing": 1.5, "caching": 2.5}
