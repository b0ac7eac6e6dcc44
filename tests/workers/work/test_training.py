"""An attempt at a job, on both databases: it resumes from the newest snapshot, and keeps no other file."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import torch
from sqlalchemy import func, select, update

from models.messages import Diagnosed, EpochEnded, HeadsSearched, Noted, PhaseStarted, Progressed, ProgressSaved, Trial
from models.pipeline import state_file
from service.jobs import lifecycle, repository, snapshots
from service.storage import StorageUnavailable
from service.tables import Dataset, Epoch, Event, Job
from tests.support.jobs import add_jobs, begun, claim_job, event_kinds, read_job
from workers.lease import fence
from workers.work.training import JobAttempt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.database import Database
    from service.settings import Settings


def take(attempt: JobAttempt, name: str, epoch: int) -> bytes:
    """Write and record a snapshot after an epoch, as its child does; gives the file."""
    attempt.scratch.mkdir(parents=True, exist_ok=True)
    state_file.write(attempt.scratch / name, {"weights": torch.full((8,), float(epoch)), "best": torch.ones(8)})
    content = (attempt.scratch / name).read_bytes()
    figures = dict.fromkeys(("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"), 0.5)
    ended = EpochEnded(epoch=epoch, view=0, lr=0.1, seconds=0.1, cache_hits=0, cache_misses=0, **figures)
    lines = [event.model_dump_json().encode() for event in (ended, ProgressSaved(snapshot=name, epoch=epoch))]
    attempt.prepare(lines)
    with attempt.database.writing() as session:
        assert not attempt.record(session, fence(session, attempt.claim), lines)
    attempt.confirm([])
    return content


def stored(settings: Settings) -> dict[str, bytes]:
    """Read the files in the storage, by name."""
    folder = settings.data / "storage" / "jobs"
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def storage_away(settings: Settings) -> Iterator[None]:
    """Make the folder of the storage unreachable, as when a network file system is gone."""
    folder, away = settings.data / "storage", settings.data / "away"
    folder.mkdir(exist_ok=True)
    folder.rename(away)
    folder.touch()
    yield
    folder.unlink()
    away.rename(folder)


def test_the_first_attempt_has_no_snapshot(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    _, order = begun(database, settings)
    assert order.snapshot is None


def test_the_next_attempt_loads_the_backbone_of_the_same_commit(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    attempt, order = begun(database, settings)
    assert order.backbone.commit is None
    described = Noted(kind="prepared", message="It is ready", data={"backbone_revision": "0" * 40})
    with database.writing() as session:
        assert not attempt.record(session, fence(session, attempt.claim), [described.model_dump_json().encode()])
    _, order = begun(database, settings)
    assert order.backbone.commit == "0" * 40


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
    assert list(epochs) == [1, 2], "later epochs are trained again"


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


def test_trials_diagnosis_and_progress_become_rows_of_the_job(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    attempt, _ = begun(database, settings)
    figures = {"l2": 0.1, "dropout": 0.2, "epoch": 3, "epochs": 4, "validation_loss": 0.5, "validation_accuracy": 0.9}
    events = (
        HeadsSearched(message="2 heads were trained", trials=[Trial(lr=0.1, **figures), Trial(lr=0.2, **figures)]),
        Diagnosed(diagnosis={"findings": []}),
        Progressed(percent=40.0, step=4, steps=10),
    )
    with database.writing() as session:
        lines = [event.model_dump_json().encode() for event in events]
        assert not attempt.record(session, fence(session, attempt.claim), lines)
    with database.reading() as session:
        trials = repository.find_trials(session, attempt.claim.id, after=-1, limit=10)
    assert [trial.lr for trial in trials] == [0.1, 0.2]
    job = read_job(database)
    assert job.diagnosis == {"findings": []}
    assert job.progress["percent"] == 40.0
    assert event_kinds(database)[-1] == "searched"


def test_a_snapshot_takes_the_place_of_the_one_before(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    attempt, _ = begun(database, settings)
    for epoch in (1, 2, 3):
        newest = take(attempt, f"snapshot-{epoch}.safetensors", epoch)
        assert list(attempt.scratch.iterdir()) == []
    assert stored(settings) == {"snapshot.1.3.safetensors": newest}
    attempt.clean_up(is_over=False)
    assert stored(settings) == {"snapshot.1.3.safetensors": newest}
    again, _ = begun(database, settings)
    after_it = take(again, "snapshot-0.safetensors", 4)
    assert stored(settings) == {"snapshot.2.1.safetensors": after_it}, "another attempt never uses the same name"


def test_only_the_newest_of_several_snapshots_is_stored(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    attempt, _ = begun(database, settings)
    attempt.scratch.mkdir(parents=True)
    lines = []
    for number in range(3):
        state_file.write(attempt.scratch / f"snapshot-{number}.safetensors", {"number": number})
        saved = ProgressSaved(snapshot=f"snapshot-{number}.safetensors", epoch=number)
        lines.append(saved.model_dump_json().encode())
    newest = (attempt.scratch / "snapshot-2.safetensors").read_bytes()
    for _ in range(2):  # a transaction that failed is tried again
        attempt.prepare(lines)
        with database.writing() as session:
            attempt.record(session, fence(session, attempt.claim), lines)
    attempt.confirm([])
    assert stored(settings) == {"snapshot.1.1.safetensors": newest}
    assert list(attempt.scratch.iterdir()) == []


def test_a_file_that_was_stored_but_not_named_is_removed(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    attempt, _ = begun(database, settings)
    named = take(attempt, "snapshot-0.safetensors", 1)
    state_file.write(attempt.scratch / "snapshot-1.safetensors", {"number": 1})
    attempt.prepare([ProgressSaved(snapshot="snapshot-1.safetensors", epoch=1).model_dump_json().encode()])
    assert len(stored(settings)) == 2
    attempt.clean_up(is_over=False)
    assert stored(settings) == {"snapshot.1.1.safetensors": named}


def test_a_job_that_has_ended_needs_no_snapshot(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    first, _ = begun(database, settings)
    take(first, "snapshot-0.safetensors", 1)
    first.clean_up(is_over=False)
    second, _ = begun(database, settings)
    with database.writing() as session:
        lifecycle.fail(session, fence(session, second.claim), "c", "m")
    second.clean_up(is_over=True)
    assert stored(settings) == {}


def test_without_storage_training_continues_with_one_warning(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    attempt, _ = begun(database, settings)
    before = take(attempt, "snapshot-0.safetensors", 1)
    with storage_away(settings):
        for epoch in (2, 3):
            take(attempt, f"snapshot-{epoch}.safetensors", epoch)
    assert event_kinds(database).count("snapshot_failed") == 1
    assert stored(settings) == {"snapshot.1.1.safetensors": before}
    after_it = take(attempt, "snapshot-4.safetensors", 4)
    assert stored(settings) == {"snapshot.1.4.safetensors": after_it}
    with storage_away(settings):
        take(attempt, "snapshot-5.safetensors", 5)
    assert event_kinds(database).count("snapshot_failed") == 2, "it worked in between"


def test_a_snapshot_that_could_not_be_stored_is_reported_even_if_preparing_is_retried(
    database: Database, settings: Settings
) -> None:
    add_jobs(database, 1)
    attempt, _ = begun(database, settings)
    attempt.scratch.mkdir(parents=True)
    state_file.write(attempt.scratch / "snapshot-0.safetensors", {"number": 0})
    lines = [ProgressSaved(snapshot="snapshot-0.safetensors", epoch=1).model_dump_json().encode()]
    with storage_away(settings):
        for _ in range(2):  # the database did not answer in between
            attempt.prepare(lines)
    with database.writing() as session:
        attempt.record(session, fence(session, attempt.claim), lines)
    assert event_kinds(database).count("snapshot_failed") == 1


def test_a_snapshot_that_could_not_be_stored_forgives_no_crashes(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    attempt, _ = begun(database, settings)
    with database.writing() as session:
        session.execute(update(Job).values(crashes=2))
    with storage_away(settings):
        take(attempt, "snapshot-0.safetensors", 1)
    with database.reading() as session:
        assert session.get_one(Job, "job_000").crashes == 2


def test_without_storage_no_attempt_starts_over(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    first, _ = begun(database, settings)
    newest = take(first, "snapshot-0.safetensors", 1)
    first.clean_up(is_over=False)
    with storage_away(settings), pytest.raises(StorageUnavailable):
        begun(database, settings)
    _, order = begun(database, settings)
    assert order.snapshot is not None
    assert order.snapshot.read_bytes() == newest


def test_progress_resets_the_count_of_crashes(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    attempt, _ = begun(database, settings)
    with database.writing() as session:
        session.execute(update(Job).values(crashes=2))
    take(attempt, "snapshot-0.safetensors", 1)
    with database.reading() as session:
        assert session.get_one(Job, "job_000").crashes == 0


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_snapshot_is_reported_and_the_job_starts_over(
    database: Database, settings: Settings, damage: str
) -> None:
    add_jobs(database, 1)
    first, _ = begun(database, settings)
    content = take(first, "snapshot-0.safetensors", 1)
    file = settings.data / "storage/jobs/job_000/snapshot.1.1.safetensors"
    if damage == "changed":
        file.write_bytes(content[:-1] + b"x")
    else:
        file.unlink()
    again, order = begun(database, settings)
    assert order.snapshot is None
    assert event_kinds(database) == ["started", "epoch", "started", "snapshot_damaged"]
    with database.reading() as session:
        assert snapshots.find(session, "job_000") is None
        assert session.scalar(select(func.count()).select_from(Epoch)) == 0
    newest = take(again, "snapshot-0.safetensors", 1)
    assert stored(settings) == {"snapshot.2.1.safetensors": newest}


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
