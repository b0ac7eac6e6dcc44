"""Every query about training snapshots: rows that name a job's newest file in the storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from service.tables import Snapshot

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


FOLDER = "jobs"
"""The folder of all snapshots in the storage."""


def make_key(job_id: str, attempt: int, number: int) -> str:
    """Make the storage key of the snapshot `number` of an attempt: no two snapshots ever share one."""
    return f"{FOLDER}/{job_id}/snapshot.{attempt}.{number}.safetensors"


def find(session: Session, job_id: str) -> Snapshot | None:
    """Find the job's newest snapshot, if it has one."""
    return session.get(Snapshot, job_id)


def list_keys(session: Session) -> set[str]:
    """List the storage keys of all snapshots."""
    return set(session.scalars(select(Snapshot.key)))


def replace(session: Session, job_id: str, *, key: str, size: int, digest: str, epoch: int) -> None:
    """Make a file in the storage the job's newest snapshot, in the caller's fenced transaction."""
    forget(session, job_id)
    session.add(Snapshot(job_id=job_id, key=key, bytes=size, digest=digest, epoch=epoch))


def forget(session: Session, job_id: str) -> None:
    """Delete the row of the job's snapshot, if any; the sweep removes a file that no worker removes."""
    session.execute(delete(Snapshot).where(Snapshot.job_id == job_id))
