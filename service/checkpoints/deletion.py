"""Delete checkpoints that nothing uses; what lineage needs of them is remembered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from service.backbones import repository as backbones
from service.batch_predictions import repository as batch_predictions
from service.checkpoints import repository
from service.checkpoints.errors import CheckpointInUse, CheckpointNamed
from service.checkpoints.tables import DeletedCheckpoint
from service.jobs.lifecycle import TERMINAL
from service.recommendations import repository as recommendations
from service.statuses import ExportStatus
from service.tables import Checkpoint, Dataset, Export, Job, JobBackbone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session


def delete(session: Session, checkpoint_id: str, *, deleted_by: str | None) -> list[str]:
    """Delete a checkpoint; returns the storage keys of its exports, which are to be deleted after the commit.

    The sweep collects the tensors that it alone needed. Raises CheckpointNotFound, CheckpointNamed, CheckpointInUse.
    """
    checkpoint = repository.get(session, checkpoint_id, lock=True)
    require_unused(session, [checkpoint_id])
    return delete_locked(session, [checkpoint], deleted_by=deleted_by)


def delete_locked(session: Session, checkpoints: Sequence[Checkpoint], *, deleted_by: str | None) -> list[str]:
    """Delete locked checkpoints that nothing uses; returns the storage keys of their exports."""
    files = remember(session, checkpoints, deleted_by=deleted_by)
    for checkpoint in checkpoints:
        session.delete(checkpoint)
    return files


def remember(session: Session, checkpoints: Sequence[Checkpoint], *, deleted_by: str | None) -> list[str]:
    """Remember checkpoints that are deleted, with their job or alone; returns the storage keys of their exports."""
    ids = [checkpoint.id for checkpoint in checkpoints]
    query = select(Job, Dataset.digest).join(Dataset, Dataset.id == Job.dataset_id)
    jobs = session.execute(query.where(Job.id.in_({checkpoint.job_id for checkpoint in checkpoints})))
    origins = {job.id: (job, digest) for job, digest in jobs}
    for checkpoint in checkpoints:
        job, digest = origins[checkpoint.job_id]
        session.add(
            DeletedCheckpoint(
                id=checkpoint.id,
                job_id=job.id,
                kind=checkpoint.kind,
                epoch=checkpoint.epoch,
                digest=checkpoint.digest,
                backbone=job.backbone,
                dataset_id=job.dataset_id,
                dataset_digest=digest,
                created_at=checkpoint.created_at,
                deleted_by=deleted_by,
            )
        )
    backbones.forget_checkpoints(session, ids)
    return [file for file in session.scalars(select(Export.file).where(Export.checkpoint_id.in_(ids))) if file]


def require_unused(session: Session, checkpoint_ids: Sequence[str]) -> None:
    """Check that nothing uses any of these checkpoints. Raises CheckpointNamed, CheckpointInUse."""
    for error in find_uses(session, checkpoint_ids).values():
        raise error


def find_uses(session: Session, checkpoint_ids: Sequence[str]) -> dict[str, CheckpointNamed | CheckpointInUse]:
    """Find those of these checkpoints that must not be deleted now, each with why.

    A model's name points at it, a job that has not ended goes on from it or distils it, a recommendation is to measure
    it, a batch prediction asks it, a backbone is being pretrained from it, or a worker makes an export of it.
    """
    uses: dict[str, CheckpointNamed | CheckpointInUse] = {}
    exporting = select(Export).where(Export.checkpoint_id.in_(checkpoint_ids), Export.status == ExportStatus.EXPORTING)
    for export in session.scalars(exporting):
        uses[export.checkpoint_id] = CheckpointInUse(
            f"A worker makes {export.id}, an export of checkpoint {export.checkpoint_id}; wait until it is ready."
        )
    for model in batch_predictions.find_unfinished_of_checkpoints(session, checkpoint_ids):
        uses[model.checkpoint_id] = CheckpointInUse(
            f"Prediction {model.prediction_id} asks checkpoint {model.checkpoint_id}; wait until it has ended, or "
            "cancel it."
        )
    for candidate in recommendations.find_unfinished_of_backbones(session, checkpoint_ids):
        uses[candidate.backbone] = CheckpointInUse(
            f"Recommendation {candidate.recommendation_id} measures checkpoint {candidate.backbone}; wait until it has "
            "ended, or cancel it."
        )
    uses |= _find_pretrainings(session, checkpoint_ids)
    named = func.coalesce(JobBackbone.backbone, Job.backbone)
    needed = select(Job.id, named).outerjoin(JobBackbone, JobBackbone.job_id == Job.id)
    needed = needed.where(named.in_(checkpoint_ids), Job.status.not_in(TERMINAL))
    for job, backbone in session.execute(needed.order_by(Job.id.desc())):
        uses[backbone] = CheckpointInUse(
            f"Job {job} goes on from checkpoint {backbone}; wait until it has ended, or cancel it."
        )
    teacher = Job.recipe["distillation"]["teacher"].as_string()
    distilled = select(Job.id, teacher).where(teacher.in_(checkpoint_ids), Job.status.not_in(TERMINAL))
    for job, name in session.execute(distilled.order_by(Job.id.desc())):
        uses[name] = CheckpointInUse(f"Job {job} distils checkpoint {name}; wait until it has ended, or cancel it.")
    for checkpoint_id, names in repository.find_names(session, checkpoint_ids).items():
        if names:
            uses[checkpoint_id] = CheckpointNamed(
                f"The model {names[0]} is checkpoint {checkpoint_id}; make the name point at another one (PUT "
                f"/v1/models/{names[0]}), or delete it, first."
            )
    return uses


def _find_pretrainings(session: Session, checkpoint_ids: Sequence[str]) -> dict[str, CheckpointInUse]:
    return {
        str(backbone.pretrained_from): CheckpointInUse(
            f"Backbone {backbone.id} is being pretrained from checkpoint {backbone.pretrained_from}; wait until it is "
            "ready, or delete it."
        )
        for backbone in backbones.find_pretrained_from(session, checkpoint_ids)
    }
