"""Create batch predictions: check a request against its dataset and its models, and add the rows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from service import queued_work
from service.batch_predictions.errors import ModelNamedTwice
from service.checkpoints import repository as checkpoints
from service.jobs.creation import lock_ready_dataset
from service.predictions.errors import TooManyPredictions
from service.predictions.models import find_models
from service.statuses import WorkStatus
from service.tables import BatchModel, BatchPrediction, new_id

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.batch_predictions.schemas import PredictionCreate

MOST_CLASSES = 10_000
"""Most classes that are listed for an image, of all models together: what bounds the size of a row."""


def create_prediction(session: Session, request: PredictionCreate, created_by: str | None = None) -> BatchPrediction:
    """Add a queued batch prediction and its first event; `created_by` is the id of an API key.

    Raises DatasetUnknown, DatasetNotReady, ModelNotFound, CheckpointNotFound, ModelNamedTwice, TooManyPredictions.
    """
    twice = [name for name, count in Counter(request.models).items() if count > 1]
    if twice:
        raise ModelNamedTwice(f"The request names the model {twice[0]} twice. Name each once.")
    if len(request.models) * request.top_k > MOST_CLASSES:
        raise TooManyPredictions(
            f"{len(request.models):,} models and top_k {request.top_k:,} are more than {MOST_CLASSES:,} classes an "
            "image. Ask for a smaller top_k, or send several requests."
        )
    dataset = lock_ready_dataset(session, request.dataset)
    models = find_models(session.connection(), request.models)
    for named in models:
        if not checkpoints.lock_against_deletion(session, named.checkpoint):
            checkpoints.get(session, named.checkpoint)  # it was deleted just now
    prediction = BatchPrediction(
        id=new_id("pred"),
        status=WorkStatus.QUEUED,
        name=request.name,
        created_by=created_by,
        dataset_id=dataset.id,
        top_k=request.top_k,
        coverage=request.coverage,
        images=dataset.images,
        progress={},
        attempt=0,
        crashes=0,
        event_seq=0,
    )
    session.add(prediction)
    session.flush()
    session.add_all(
        BatchModel(prediction_id=prediction.id, position=position, model=named.model, checkpoint_id=named.checkpoint)
        for position, named in enumerate(models)
    )
    queued_work.add_event(session, prediction, "info", "queued", "Waiting for a worker", {})
    return prediction
