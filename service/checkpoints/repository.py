"""Every query about checkpoints; their bytes are in `blobs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from service.backbones.tables import CHECKPOINT
from service.checkpoints import blobs
from service.checkpoints.errors import CheckpointNotFound
from service.tables import Checkpoint, DeletedCheckpoint, ImagePredictions, Job, Model, PredictionStatistics, new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from service.checkpoints.manifests import Manifest


def get(session: Session, checkpoint_id: str, *, lock: bool = False) -> Checkpoint:
    """Get a checkpoint, with `lock` locked until the transaction ends; raises CheckpointNotFound."""
    checkpoint = session.get(Checkpoint, checkpoint_id, with_for_update=lock or None)
    if checkpoint is None:
        raise _explain_missing(session, checkpoint_id)
    return checkpoint


def _explain_missing(session: Session, checkpoint_id: str) -> CheckpointNotFound:
    if session.get(DeletedCheckpoint, checkpoint_id) is not None:
        return CheckpointNotFound(f"Checkpoint {checkpoint_id} was deleted.")
    hint = f" Ids of checkpoints begin with {CHECKPOINT}; GET /v1/models/NAME says which one a model's name points at."
    if checkpoint_id.startswith(CHECKPOINT):
        hint = ""
    return CheckpointNotFound(f"There is no checkpoint {checkpoint_id:.100}.{hint}")


def find_by_job(session: Session, job_id: str, *, lock: bool = False) -> Sequence[Checkpoint]:
    """Find the checkpoints of a job, the best first; with `lock` locked until the transaction ends."""
    query = select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(*Checkpoint.order_best_first())
    return session.scalars(query.with_for_update() if lock else query).all()


def publish(
    session: Session,
    *,
    job_id: str,
    manifest: Manifest,
    kind: str,
    epoch: int,
    metrics: dict[str, Any],
    classes: list[str],
    statistics: bytes | None = None,
    predictions: bytes | None = None,
) -> Checkpoint:
    """Create a checkpoint of stored tensors, in the caller's fenced transaction: it exists whole or not at all.

    `statistics` are its prediction statistics, `predictions` those for the validation and test images.

    Raises ContentsCollected.
    """
    checkpoint = Checkpoint(
        id=new_id("ckpt"),
        job_id=job_id,
        kind=kind,
        epoch=epoch,
        metrics=metrics,
        classes=classes,
    )
    blobs.link(session, checkpoint, manifest)
    if statistics is not None:
        session.add(PredictionStatistics(checkpoint_id=checkpoint.id, content=statistics))
    if predictions is not None:
        session.add(ImagePredictions(checkpoint_id=checkpoint.id, content=predictions))
    return checkpoint


def find_names(session: Session, checkpoint_ids: Sequence[str]) -> dict[str, list[str]]:
    """Find the models' names that point at each of these checkpoints."""
    query = select(Model).where(Model.checkpoint_id.in_(checkpoint_ids)).order_by(Model.name)
    found: dict[str, list[str]] = {checkpoint_id: [] for checkpoint_id in checkpoint_ids}
    for model in session.scalars(query):
        found[model.checkpoint_id].append(model.name)
    return found


def find_statistics(session: Session, checkpoint_ids: Sequence[str]) -> dict[str, bytes]:
    """Find the prediction statistics of those checkpoints that have some; older ones have none."""
    query = select(PredictionStatistics).where(PredictionStatistics.checkpoint_id.in_(checkpoint_ids))
    return {row.checkpoint_id: row.content for row in session.scalars(query)}


def find_sizes(
    session: Session, table: type[PredictionStatistics | ImagePredictions], checkpoints: Sequence[Checkpoint]
) -> dict[str, int]:
    """Find the bytes of the prediction statistics, or predictions, of those checkpoints that have some."""
    ids = [checkpoint.id for checkpoint in checkpoints]
    query = select(table.checkpoint_id, func.length(table.content)).where(table.checkpoint_id.in_(ids))
    return dict(iter(session.execute(query)))


def lock_against_deletion(session: Session, checkpoint_id: str) -> bool:
    """Share-lock a checkpoint, so that it cannot be deleted before the commit; False if there is none."""
    return session.get(Checkpoint, checkpoint_id, with_for_update={"read": True, "key_share": True}) is not None


def find_parents(session: Session, checkpoints: Sequence[Checkpoint]) -> dict[str, str]:
    """Find the checkpoints that others were fine-tuned from: {id of one: id of its parent}."""
    ids = [checkpoint.id for checkpoint in checkpoints]
    query = select(Checkpoint.id, Job.backbone).join(Job).where(Checkpoint.id.in_(ids))
    found = session.execute(query.where(Job.backbone.startswith(CHECKPOINT, autoescape=True)))
    return {row.id: row.backbone for row in found}
