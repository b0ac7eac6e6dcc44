"""Every query about snapshots: of a running job the newest is kept, and none of one that has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from service.checkpoints import blobs
from service.tables import Snapshot, SnapshotTensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from service.checkpoints.blobs import Manifest


def of_job(session: Session, job_id: str) -> Snapshot | None:
    """The job's newest, if it has one."""
    return session.get(Snapshot, job_id)


def replace(session: Session, job_id: str, manifest: Manifest, epoch: int) -> Sequence[str]:
    """Make what was stored the job's newest, in the caller's fenced transaction; gives the tensors of the one before.

    Raises ContentsCollected.
    """
    before = session.scalars(select(SnapshotTensor.digest).where(SnapshotTensor.job_id == job_id)).all()
    forget(session, job_id)
    snapshot = Snapshot(
        job_id=job_id, epoch=epoch, header=manifest.header, bytes=manifest.bytes, digest=manifest.digest
    )
    session.add(snapshot)
    session.flush()
    blobs.link(session, snapshot, manifest)
    return before


def forget(session: Session, job_id: str) -> None:
    """The job goes on from none; the sweep collects what it alone needed."""
    session.execute(delete(Snapshot).where(Snapshot.job_id == job_id))
