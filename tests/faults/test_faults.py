"""Every fault once, injected into a real deployment; and that a violated invariant is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from sqlalchemy import text

from faults import invariants
from faults.__main__ import run
from faults.injections import FAULTS
from service.jobs import lifecycle, repository
from tests.support.jobs import add_jobs, claim_job
from workers.lease import fence

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database


def test_nothing_is_lost_whatever_goes_wrong(tmp_path: Path) -> None:
    assert run(tmp_path, seed=1, count=len(FAULTS), console=Console())


@pytest.fixture
def ended(database: Database) -> Database:
    """A database with a job that was cancelled, after two epochs."""
    add_jobs(database, 1)
    claim = claim_job(database)
    with database.writing() as session:
        job = fence(session, claim)
        lifecycle.start(session, job)
        job.details = {"fate": "cancel"}
        for epoch in (1, 2):
            session.execute(
                text(
                    "INSERT INTO epochs (job_id, epoch, view, train_loss, train_accuracy, validation_loss, "
                    "validation_accuracy, lr, seconds, cache_hits, cache_misses) "
                    f"VALUES ('job_000', {epoch}, 0, 0, 0, 0, 0, 0, 0, 0, 0)"
                )
            )
            repository.add_event(session, job, "info", "epoch", "", {"epoch": epoch})
        lifecycle.cancel(session, job)
        lifecycle.interrupt(session, job)
    return database


def violated(database: Database) -> set[str]:
    """The invariants that do not hold."""
    with database.reading() as session:
        return {check.__name__ for check in invariants.IN_THE_DATABASE if list(check(session))}


@pytest.mark.parametrize(
    ("damage", "noticed"),
    [
        ("UPDATE jobs SET status = 'failed'", {"every_job_has_ended_well"}),
        ("UPDATE jobs SET lease_until = 1", {"every_job_has_ended_well"}),
        ("DELETE FROM events WHERE seq = 2", {"events_have_no_gaps"}),
        ("UPDATE events SET kind = 'succeeded' WHERE seq = 2", {"every_job_has_ended_once"}),
        ("DELETE FROM epochs WHERE epoch = 1", {"epochs_have_no_gaps"}),
        (
            "UPDATE events SET data = '{\"attempt\": 9}' WHERE kind = 'started'",
            {"attempts_write_no_more_when_the_next_has_started"},
        ),
        (
            "INSERT INTO snapshots (job_id, epoch, header, bytes, digest) VALUES ('job_000', 1, 'x', 1, 'x')",
            {"nothing_is_left_of_snapshots"},
        ),
        (
            "INSERT INTO checkpoints (id, job_id, kind, epoch, metrics, classes, header, bytes, digest) "
            "VALUES ('c', 'job_000', 'best', 1, '{}', '[]', 'x', 1, 'x')",
            {"every_success_has_its_checkpoint"},
        ),
        ("UPDATE datasets SET status = 'validating'", {"datasets_are_ready"}),
    ],
)
def test_what_is_violated_is_noticed(ended: Database, damage: str, noticed: set[str]) -> None:
    assert violated(ended) == set()
    with ended.writing() as session:
        session.connection().exec_driver_sql(damage)
    assert violated(ended) == noticed


def test_a_tensor_that_is_not_whole_is_noticed(ended: Database) -> None:
    with ended.writing() as session:
        for statement in (
            "INSERT INTO checkpoints (id, job_id, kind, epoch, metrics, classes, header, bytes, digest) "
            "VALUES ('c', 'job_000', 'best', 1, '{}', '[]', 'x', 1, 'x')",
            "INSERT INTO tensors (digest, bytes) VALUES ('t', 4)",
            "INSERT INTO checkpoint_tensors (checkpoint_id, position, digest) VALUES ('c', 0, 't')",
        ):
            session.connection().exec_driver_sql(statement)
    assert "tensors_are_whole" in violated(ended)
