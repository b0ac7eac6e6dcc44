"""Checkpoints of a job, stored as a worker does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.checkpoints import blobs, repository
from service.checkpoints.errors import ContentsCollected
from service.statuses import JobStatus
from service.tables import Checkpoint, Dataset, Job
from tests.support.jobs import build_dataset, build_job

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database

JOB = "job_1"


def add_job(database: Database, job: str = JOB) -> str:
    """Add a job that checkpoints can belong to."""
    with database.writing() as session:
        if session.get(Dataset, "ds_1") is None:
            session.add(build_dataset())
            session.flush()
        if session.get(Job, job) is None:
            session.add(build_job(job, JobStatus.RUNNING, attempt=1))
    return job


def publish(database: Database, manifest: blobs.Manifest, kind: str = "best") -> Checkpoint:
    """Add a checkpoint of a file whose contents are stored."""
    with database.writing() as session:
        return repository.publish(
            session, job_id=JOB, manifest=manifest, kind=kind, epoch=1, metrics={}, classes=["a", "b"]
        )


def store_and_publish(database: Database, file: Path, kind: str = "best") -> Checkpoint:
    """Store a file and add its checkpoint; contents that were collected meanwhile are stored again."""
    while True:
        try:
            return publish(database, blobs.store(database, file), kind)
        except ContentsCollected:
            continue
