"""Every fault once, injected into a real deployment; violations of invariants are found."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from rich.console import Console
from sqlalchemy import text

from faults import invariants
from faults.__main__ import run
from faults.injections import FAULTS
from service.jobs import lifecycle, repository, snapshots
from tests.support.jobs import add_jobs, claim_job
from workers.lease import fence

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database


@pytest.mark.extended
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
        return {name for name, find in invariants.IN_THE_DATABASE.items() if list(find(session))}


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE jobs SET status = 'failed'", {"every job has ended well"}),
        ("UPDATE jobs SET lease_until = 1", {"every job has ended well"}),
        ("DELETE FROM events WHERE seq = 2", {"events have no gaps"}),
        ("UPDATE events SET kind = 'succeeded' WHERE seq = 2", {"every job has ended once"}),
        ("DELETE FROM epochs WHERE epoch = 1", {"epochs have no gaps"}),
        (
            "UPDATE events SET data = '{\"attempt\": 9}' WHERE kind = 'started'",
            {"attempts start one after another"},
        ),
        (
            "INSERT INTO snapshots (job_id, key, epoch, bytes, digest) VALUES ('job_000', 'x', 1, 1, 'x')",
            {"jobs that have ended have no snapshot"},
        ),
        (
            "INSERT INTO checkpoints (id, job_id, kind, epoch, classes, header, bytes, digest) "
            "VALUES ('c', 'job_000', 'best', 1, '[]', 'x', 1, 'x')",
            {"every success has its checkpoint"},
        ),
        (
            "INSERT INTO crashes (job_id, attempt, cause) VALUES ('job_000', 1, 'stalled')",
            {"no attempt counts as hung"},
        ),
        ("UPDATE datasets SET status = 'validating'", {"datasets are ready"}),
    ],
)
def test_violations_in_the_database_are_found(ended: Database, damage: str, found: set[str]) -> None:
    assert violated(ended) == set()
    with ended.writing() as session:
        session.connection().exec_driver_sql(damage)
    assert violated(ended) == found


def test_a_tensor_that_lacks_bytes_is_found(ended: Database) -> None:
    with ended.writing() as session:
        for statement in (
            "INSERT INTO trunks (id, digest, header) VALUES ('k', 'x', 'x')",
            "INSERT INTO tensors (digest, bytes) VALUES ('t', 4)",
            "INSERT INTO trunk_tensors (trunk_id, position, digest) VALUES ('k', 0, 't')",
        ):
            session.connection().exec_driver_sql(statement)
    assert "tensors are complete" in violated(ended)


@pytest.mark.parametrize(("content", "found"), [(b"weights", []), (b"other", ["damaged"]), (None, ["missing"])])
def test_a_snapshot_file_that_is_missing_or_damaged_is_found(
    database: Database, tmp_path: Path, content: bytes | None, found: list[str]
) -> None:
    add_jobs(database, 1)
    storage = tmp_path / "storage"
    key = snapshots.make_key("job_000", 1, 1)
    if content is not None:
        (storage / key).parent.mkdir(parents=True)
        (storage / key).write_bytes(content)
    with database.writing() as session:
        digest = hashlib.sha256(b"weights").hexdigest()
        snapshots.replace(session, "job_000", key=key, size=7, digest=digest, epoch=1)
    violations = list(invariants.find_damaged_snapshots(database, storage))
    assert [violation.split()[-1] for violation in violations] == found
    assert list(invariants.find_unnamed_files(database, storage)) == (
        [f"storage lacks {key}"] if content is None else []
    )


def test_a_snapshot_file_that_no_job_names_is_removed_by_the_sweep(database: Database, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    file = storage / snapshots.make_key("job_000", 1, 1)
    file.parent.mkdir(parents=True)
    file.touch()
    assert list(invariants.find_unnamed_files(database, storage)) == []
    assert not file.exists()
