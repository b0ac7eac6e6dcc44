"""The sweep, on both databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select, text

from service.queue import Queue
from service.settings import Settings
from service.tables import IdempotencyKey, Job
from tests.workers.test_leases import add_jobs, job, taken
from workers.sweep import sweep

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database


def test_a_cancelled_job_whose_worker_died_is_ended(database: Database, tmp_path: Path) -> None:
    add_jobs(database, 2)
    dead, alive = taken(database, "dead", seconds=0.0), taken(database, "alive")
    if alive.id == dead.id:  # the lease of no time had run out already
        alive = taken(database, "other")
    with database.writing() as session:
        session.execute(text("UPDATE jobs SET status = 'cancelling'"))
        session.execute(text("UPDATE jobs SET lease_until = 1 WHERE id = 'job_000'"))
    sweep(database, Queue(""), Settings(data=tmp_path))
    assert (job(database, "job_000").status, job(database, "job_001").status) == ("cancelled", "cancelling")


def test_folders_of_attempts_that_are_over_are_removed(database: Database, tmp_path: Path) -> None:
    add_jobs(database, 1)
    claim = taken(database)
    settings = Settings(data=tmp_path)
    current, old = (settings.scratch / f"{claim.id}.{attempt}" for attempt in (claim.attempt, 7))
    for folder in (current, old):
        folder.mkdir(parents=True)
    sweep(database, Queue(""), settings)
    assert list(settings.scratch.iterdir()) == [current]


def test_old_keys_are_forgotten(database: Database, tmp_path: Path) -> None:
    with database.writing() as session:
        for name, age in (("old", 8), ("new", 6)):
            session.add(IdempotencyKey(key=name, request="r", resource="x", created_at=age))
        session.flush()
        session.execute(text("UPDATE idempotency_keys SET created_at = :t WHERE key = 'old'"), {"t": 0.0})
        session.execute(text("UPDATE idempotency_keys SET created_at = :t WHERE key = 'new'"), {"t": 9e9})
    sweep(database, Queue(""), Settings(data=tmp_path))
    with database.reading() as session:
        assert session.scalars(select(IdempotencyKey.key)).all() == ["new"]


def test_a_broker_that_is_away_is_no_error(database: Database, tmp_path: Path) -> None:
    add_jobs(database, 1)
    sweep(database, Queue("redis://127.0.0.1:9/0"), Settings(data=tmp_path))
    with database.reading() as session:
        assert session.scalars(select(Job.status)).all() == ["queued"]
