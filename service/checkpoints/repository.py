"""Every query about checkpoints; their bytes are in `blobs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from service.checkpoints import blobs
from service.checkpoints.errors import CheckpointNotFound
from service.tables import Checkpoint, new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from service.checkpoints.blobs import Manifest


def get(session: Session, checkpoint_id: str) -> Checkpoint:
    """Get a checkpoint; raises CheckpointNotFound."""
    checkpoint = session.get(Checkpoint, checkpoint_id)
    if checkpoint is None:
        raise CheckpointNotFound(f"There is no checkpoint {checkpoint_id}.")
    return checkpoint


def find_by_job(session: Session, job_id: str) -> Sequence[Checkpoint]:
    """Find the checkpoints of a job, the best first."""
    # By kind: "best" comes before "last" in the alphabet too.
    query = select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.kind, Checkpoint.id)
    return session.scalars(query).all()


def publish(
    session: Session,
    *,
    job_id: str,
    manifest: Manifest,
    kind: str,
    epoch: int,
    metrics: dict[str, Any],
    classes: list[str],
) -> Checkpoint:
    """Create a checkpoint of stored tensors, in the caller's fenced transaction: it exists whole or not at all.

    Raises ContentsCollected.
    """
    checkpoint = Checkpoint(
        id=new_id("ckpt"),
        job_id=job_id,
        kind=kind,
        epoch=epoch,
        metrics=metrics,
        classes=classes,
        header=manifest.header,
        bytes=manifest.bytes,
        digest=manifest.digest,
    )
    session.add(checkpoint)
    session.flush()
    blobs.link(session, checkpoint, manifest)
    return checkpoint


def delete(session: Session, checkpoint_id: str) -> None:
    """Delete the checkpoint; the sweep collects the tensors that it alone needed. Raises CheckpointNotFound."""
    session.delete(get(session, checkpoint_id))
