"""Checkpoints of a job, stored as a worker does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from sqlalchemy import update

from models.runtime.checkpoint_file import write
from service.checkpoints import blobs, repository
from service.checkpoints.errors import ContentsCollected
from service.statuses import JobStatus
from service.tables import Checkpoint, Dataset, Job
from tests.support.jobs import build_dataset, build_job
from tests.support.small_job import CLASSES

if TYPE_CHECKING:
    from pathlib import Path

    from service.checkpoints.manifests import Manifest
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


def add_small_checkpoint(database: Database, folder: Path) -> str:
    """Add a job and its checkpoint of one small tensor; returns the checkpoint's id."""
    write(folder / "small.safetensors", {"head": torch.randn(7)}, {"k": "v"})
    add_job(database)
    return store_and_publish(database, folder / "small.safetensors").id


def add_trained_checkpoint(database: Database, folder: Path) -> str:
    """Add the checkpoint of a small job that was trained in a folder, and its dataset; returns the checkpoint's id."""
    add_job(database)
    with database.writing() as session:
        classes = [{"name": name} for name in CLASSES]
        session.execute(update(Dataset).values(pack="small.pack", index="small.index", images=90, classes=classes))
    return store_and_publish(database, folder / "best.safetensors").id


def publish(database: Database, manifest: Manifest, kind: str = "best") -> Checkpoint:
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
