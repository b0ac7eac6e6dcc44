"""Queries about snapshots, on both databases: a job has one at most, and none once it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.jobs import lifecycle, repository, snapshots
from service.tables import Job
from tests.support.checkpoints import add_job

if TYPE_CHECKING:
    from service.database import Database


@pytest.fixture
def job(database: Database) -> str:
    """A running job."""
    return add_job(database)


def name(database: Database, job: str, epoch: int) -> str:
    """Name a file as the job's newest snapshot; gives its key."""
    key = snapshots.make_key(job, 1, epoch)
    with database.writing() as session:
        snapshots.replace(session, job, key=key, size=10, digest="0" * 64, epoch=epoch)
    return key


def keys(database: Database) -> set[str]:
    """The keys of all snapshots."""
    with database.reading() as session:
        return snapshots.list_keys(session)


def test_the_newest_takes_the_place_of_the_one_before(database: Database, job: str) -> None:
    first, second = name(database, job, 1), name(database, job, 2)
    assert first != second
    with database.reading() as session:
        found = snapshots.find(session, job)
    assert found is not None
    assert (found.key, found.bytes, found.digest, found.epoch) == (second, 10, "0" * 64, 2)
    assert keys(database) == {second}


def test_a_job_that_has_ended_has_none(database: Database, job: str) -> None:
    name(database, job, 1)
    with database.writing() as session:
        lifecycle.fail(session, repository.get(session, job, lock=True), "c", "m")
    assert keys(database) == set()


def test_a_paused_job_keeps_it(database: Database, job: str) -> None:
    key = name(database, job, 1)
    with database.writing() as session:
        row = repository.get(session, job, lock=True)
        lifecycle.pause(session, row)
        lifecycle.interrupt(session, row)
    with database.reading() as session:
        assert session.get_one(Job, job).status == "paused"
    assert keys(database) == {key}
