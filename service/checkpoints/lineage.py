"""Lineage of a checkpoint: dataset, backbone and job that it comes from, its names, and the jobs that go on from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from service.backbones.tables import CHECKPOINT
from service.checkpoints import repository
from service.pagination import Identified
from service.tables import Checkpoint, Dataset, DeletedCheckpoint, Job
from service.types import DescribedModel, Timestamp

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MOST_ANCESTORS = 1000


class Ancestor(DescribedModel):
    """One fine-tuning on the way to a checkpoint."""

    checkpoint: str
    deleted_at: Timestamp | None
    """When it was deleted; null if it is there."""
    job: str | None
    """Null where an earlier release deleted the checkpoint: what was before it is not known any more."""
    dataset: str | None
    dataset_digest: str | None
    backbone: str | None
    """The checkpoint before it, or the pretrained network that all began with."""


class Lineage(Identified):
    """Lineage of a checkpoint: its ancestors and the jobs that go on from it."""

    models: list[str]
    """Names that point at it."""
    ancestors: list[Ancestor]
    """The checkpoint itself, then the one that it was fine-tuned from, and so on."""
    child_jobs: list[str]
    """Jobs that go on from it, oldest first."""


def trace(session: Session, checkpoint_id: str) -> Lineage:
    """Trace the lineage of a checkpoint; raises CheckpointNotFound."""
    repository.get(session, checkpoint_id)
    ancestors: list[Ancestor] = []
    current: str | None = checkpoint_id
    while current is not None and len(ancestors) < MOST_ANCESTORS:
        ancestors.append(_find_ancestor(session, current))
        before = ancestors[-1].backbone
        current = before if before is not None and before.startswith(CHECKPOINT) else None
    children = select(Job.id).where(Job.backbone == checkpoint_id).order_by(Job.id)
    return Lineage(
        id=checkpoint_id,
        models=repository.find_names(session, [checkpoint_id])[checkpoint_id],
        ancestors=ancestors,
        child_jobs=list(session.scalars(children)),
    )


def _find_ancestor(session: Session, checkpoint_id: str) -> Ancestor:
    query = (
        select(Job.id, Job.backbone, Dataset.id, Dataset.digest)
        .join(Checkpoint, Checkpoint.job_id == Job.id)
        .join(Dataset, Dataset.id == Job.dataset_id)
        .where(Checkpoint.id == checkpoint_id)
    )
    job: str | None = None
    backbone: str | None = None
    dataset: str | None = None
    digest: str | None = None
    deleted = None
    if (found := session.execute(query).one_or_none()) is not None:
        job, backbone, dataset, digest = found
    elif (deleted := session.get(DeletedCheckpoint, checkpoint_id)) is not None:
        job, backbone = deleted.job_id, deleted.backbone
        dataset, digest = deleted.dataset_id, deleted.dataset_digest
    return Ancestor(
        checkpoint=checkpoint_id,
        deleted_at=None if deleted is None else deleted.deleted_at,
        job=job,
        dataset=dataset,
        dataset_digest=None if digest is None else f"sha256:{digest}",
        backbone=backbone,
    )
