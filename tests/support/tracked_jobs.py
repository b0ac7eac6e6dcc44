"""Jobs whose attempts are tracked: begun, trained and ended without a child process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import update

from models.messages import EpochEnded
from service.jobs import lifecycle
from service.tables import Dataset, Job
from tests.support.jobs import add_jobs, claim_job
from workers.lease import fence
from workers.tracking import tracking
from workers.work.training import JobAttempt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.database import Database
    from service.settings import Settings

RECIPE = {"optimizer": {"kind": "adam", "beta2": 0.5}, "epochs": 4, "target": None}
METRICS = {
    "validation": {"accuracy": 0.9, "loss": 0.25, "confusion_matrix": [[1]]},
    "test": {"accuracy": 0.75, "loss": 0.5, "note": "x"},
}
DETAILS = {"team@1": "bio", "graft.job": "job_other", "mlflow.runName": "mine", "mlflow.user": "me", "a/../b": "c"}
SECONDS = 20.0


def begin(database: Database, settings: Settings) -> JobAttempt:
    """Claim and start the next attempt at the only job, as if the one before had lost its lease."""
    with database.writing() as session:
        session.execute(update(Job).values(lease_until=None, worker=None, recipe=RECIPE, details=DETAILS))
        session.execute(update(Dataset).values(pack="pack", index="index", digest="0" * 64))
    attempt = JobAttempt(database, settings, claim_job(database))
    attempt.fetch_inputs()
    with database.writing() as session:
        attempt.start(session, fence(session, attempt.claim))
    return attempt


def end_epoch(epoch: int, seconds: float = 2.0) -> EpochEnded:
    """Make an epoch whose metrics are told by its number."""
    return EpochEnded(
        epoch=epoch, view=0, train_loss=1 / epoch, train_accuracy=0.5, validation_loss=2 / epoch,
        validation_accuracy=1 - 1 / epoch, lr=0.125, seconds=seconds, cache_hits=3, cache_misses=4,
    )  # fmt: skip


def train(attempt: JobAttempt, *epochs: int, seconds: float = 2.0) -> None:
    """Record epochs as a child's events."""
    for epoch in epochs:
        lines = [end_epoch(epoch, seconds).model_dump_json().encode()]
        with attempt.database.writing() as session:
            assert not attempt.record(session, fence(session, attempt.claim), lines)
        attempt.confirm(lines)


def end(attempt: JobAttempt) -> None:
    """End the job well, and its attempt."""
    with attempt.database.writing() as session:
        lifecycle.succeed(session, fence(session, attempt.claim), stop_reason="epochs_done", metrics=METRICS)
    attempt.clean_up(is_over=True)


def succeed(attempt: JobAttempt) -> None:
    """End the job well, and wait until the trackers know."""
    end(attempt)
    tracking.wait_for_trackers(60.0)


def wait_until(is_so: Callable[[], Any]) -> None:
    """Wait until what a tracker's thread does is seen."""
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "the tracker was told nothing"
        time.sleep(0.05)


def run_twice(database: Database, settings: Settings, *, sent: Callable[[], Any]) -> None:
    """Train two epochs, wait until `sent()` is true, lose that attempt, and train the job to its end in another."""
    add_jobs(database, 1)
    train(begin(database, settings), 1, 2)
    wait_until(sent)
    again = begin(database, settings)
    train(again, 1, 2, 3, seconds=3.0)  # another worker is slower
    succeed(again)


def read_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read steps and values of the only event file of the job."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = (folder / "job_000").iterdir()
    read = EventAccumulator(str(file)).Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}
