"""Every query about batch predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, or_, select

from service.batch_predictions.errors import PredictionNotFound
from service.tables import BatchModel, BatchPart, BatchPrediction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

FOLDER = "predictions"
"""The folder of all batch predictions in the storage."""


def get_folder(prediction_id: str) -> str:
    """Get the folder of the files of a batch prediction in the storage."""
    return f"{FOLDER}/{prediction_id}"


def get(session: Session, prediction_id: str, *, lock: bool = False) -> BatchPrediction:
    """Get a batch prediction, with `lock` locked until the transaction ends; raises PredictionNotFound."""
    prediction = session.get(BatchPrediction, prediction_id, with_for_update=lock or None)
    if prediction is None:
        raise PredictionNotFound(f"There is no prediction {prediction_id:.100}.")
    return prediction


def find_page(
    session: Session,
    *,
    limit: int,
    after: str | None = None,
    status: str | None = None,
    dataset: str | None = None,
    model: str | None = None,
) -> list[BatchPrediction]:
    """Find the newest `limit` + 1 batch predictions before `after` that match every filter.

    `model` is a name as it was asked for, or a checkpoint.
    """
    query = select(BatchPrediction).order_by(BatchPrediction.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(BatchPrediction.id < after)
    if status is not None:
        query = query.where(BatchPrediction.status == status)
    if dataset is not None:
        query = query.where(BatchPrediction.dataset_id == dataset)
    if model is not None:
        is_named = or_(BatchModel.model == model, BatchModel.checkpoint_id == model)
        query = query.where(exists().where(BatchModel.prediction_id == BatchPrediction.id, is_named))
    return list(session.scalars(query))


def find_models(session: Session, prediction_ids: Sequence[str]) -> dict[str, list[BatchModel]]:
    """Find the models of each batch prediction, in the order of its request."""
    query = select(BatchModel).where(BatchModel.prediction_id.in_(prediction_ids)).order_by(BatchModel.position)
    found: dict[str, list[BatchModel]] = {prediction_id: [] for prediction_id in prediction_ids}
    for model in session.scalars(query):
        found[model.prediction_id].append(model)
    return found


def find_unfinished_of_checkpoints(session: Session, checkpoint_ids: Sequence[str]) -> Sequence[BatchModel]:
    """Find the models, of batch predictions that have not ended, that are these checkpoints."""
    query = select(BatchModel).join(BatchPrediction, BatchPrediction.id == BatchModel.prediction_id)
    query = query.where(BatchModel.checkpoint_id.in_(checkpoint_ids), BatchPrediction.finished_at.is_(None))
    return session.scalars(query).all()


def find_parts(session: Session, prediction_id: str) -> list[BatchPart]:
    """Find the stored parts of a batch prediction that has not ended, in the order of their images."""
    query = select(BatchPart).where(BatchPart.prediction_id == prediction_id).order_by(BatchPart.first)
    return list(session.scalars(query))


def forget_parts(session: Session, prediction_id: str, first: int = 0) -> None:
    """Forget the stored parts of the images from `first` on; their files are the caller's to remove."""
    session.execute(delete(BatchPart).where(BatchPart.prediction_id == prediction_id, BatchPart.first >= first))


def find_file_keys(session: Session) -> set[str]:
    """Find the storage keys of all files that batch predictions name."""
    keys = set(session.scalars(select(BatchPart.key)))
    for files in session.scalars(select(BatchPrediction.files).where(BatchPrediction.files.is_not(None))):
        keys |= {file["key"] for file in (files or {}).values()}
    return keys
