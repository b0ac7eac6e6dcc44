"""Snapshots in both databases: the newest comes back whole, and nothing of the others is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from sqlalchemy import func, select

from service.checkpoints import blobs
from service.jobs import lifecycle, repository, snapshots
from service.tables import Chunk, Job, SnapshotTensor, Tensor
from tests.service.checkpoints.test_blobs import add_job, file_of

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database


@pytest.fixture
def job(database: Database) -> str:
    """A running job."""
    return add_job(database)


def take(database: Database, job: str, file: Path, epoch: int) -> None:
    """A snapshot, in place of the one before."""
    manifest = blobs.store(database, file)
    with database.writing() as session:
        before = snapshots.replace(session, job, manifest, epoch)
    blobs.discard(database, before)


def count(database: Database, table: type[Tensor | Chunk | SnapshotTensor]) -> int:
    """Rows of a table."""
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_the_newest_comes_back_and_shares_what_has_not_changed(database: Database, job: str, tmp_path: Path) -> None:
    best = torch.ones(400_000)
    for epoch in (1, 2, 3):
        file = file_of(tmp_path, str(epoch), best=best, weights=torch.full((10,), float(epoch)))
        take(database, job, file, epoch)
    with database.reading() as session:
        found = snapshots.of_job(session, job)
    assert found is not None
    assert found.epoch == 3
    assert b"".join(blobs.read(database, found, 0, found.bytes)) == file.read_bytes()
    assert count(database, Tensor) == count(database, SnapshotTensor) == 2, "those of the others are gone at once"


def test_of_a_job_that_has_ended_nothing_is_left(database: Database, job: str, tmp_path: Path) -> None:
    take(database, job, file_of(tmp_path, "a", weights=torch.ones(10)), 1)
    with database.writing() as session:
        lifecycle.fail(session, repository.get(session, job, lock=True), "c", "m")
    assert blobs.collect(database, grace_seconds=0) == 1
    assert count(database, SnapshotTensor) == count(database, Tensor) == count(database, Chunk) == 0


def test_a_paused_job_keeps_it(database: Database, job: str, tmp_path: Path) -> None:
    take(database, job, file_of(tmp_path, "a", weights=torch.ones(10)), 1)
    with database.writing() as session:
        row = repository.get(session, job, lock=True)
        lifecycle.pause(session, row)
        lifecycle.interrupt(session, row)
    assert blobs.collect(database, grace_seconds=0) == 0
    with database.reading() as session:
        assert session.get_one(Job, job).status == "paused"
        assert snapshots.of_job(session, job) is not None
