"""HTTP of batch predictions."""

from __future__ import annotations

import logging
from functools import partial
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from pydantic import BeforeValidator
from sqlalchemy.orm import Session

from service import idempotency, queued_work, tables
from service.batch_predictions import creation, repository
from service.batch_predictions.errors import NoResults, PredictionNotFinished
from service.batch_predictions.schemas import BatchPrediction, Format, PredictionCreate
from service.checkpoints.downloads import build_headers, give_content, read_stored
from service.dependencies import (
    BodyDigestDep,
    CreatedByDep,
    DatabaseDep,
    IdempotencyKeyDep,
    QueueDep,
    StorageDep,
)
from service.event_stream import RESPONSES, Accept, Event, EventLog, LastEventId, give_events
from service.json_body import JsonRoute
from service.pagination import After, Page, PageSize, shaped_like
from service.query_parameters import none_if_empty
from service.statuses import WorkStatus
from service.storage import StorageUnavailable

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/predictions", tags=["predictions"], route_class=JsonRoute)

EVENT_LOG = EventLog(
    repository.get,
    partial(queued_work.is_over, table=tables.BatchPrediction),
    partial(queued_work.find_events, table=tables.BatchPrediction),
)
MEDIA_TYPES: dict[Format, str] = {
    "csv": "text/csv",
    "jsonl": "application/jsonl",
    "parquet": "application/vnd.apache.parquet",
}


@router.post("", status_code=202)
def create_prediction(
    body: PredictionCreate,
    digest: BodyDigestDep,
    response: Response,
    tasks: BackgroundTasks,
    database: DatabaseDep,
    queue: QueueDep,
    created_by: CreatedByDep,
    key: IdempotencyKeyDep = None,
) -> BatchPrediction:
    """Have models predict for every image of a dataset. Poll the prediction, or follow its events."""
    with database.writing() as session:
        create = partial(creation.create_prediction, session, body, created_by)
        row = idempotency.create_once(session, key, digest, tables.BatchPrediction, create)
        (prediction,) = _build_predictions(session, [row])
    tasks.add_task(queue.wake)
    response.headers["Location"] = f"/v1/predictions/{prediction.id}"
    return prediction


@router.get("")
def list_predictions(
    database: DatabaseDep,
    limit: PageSize = 20,
    after: Annotated[After, shaped_like("pred")] = None,
    status: Annotated[WorkStatus | None, BeforeValidator(none_if_empty), Query()] = None,
    dataset: Annotated[str | None, BeforeValidator(none_if_empty), Query()] = None,
    model: Annotated[
        str | None, BeforeValidator(none_if_empty), Query(description="A name as it was asked for, or a checkpoint.")
    ] = None,
) -> Page[BatchPrediction]:
    """List batch predictions, newest first."""
    with database.reading() as session:
        rows = repository.find_page(session, limit=limit, after=after, status=status, dataset=dataset, model=model)
        return Page.from_items(_build_predictions(session, rows), limit)


@router.get("/{prediction_id}")
def get_prediction(prediction_id: str, database: DatabaseDep) -> BatchPrediction:
    """Get a batch prediction: its state, progress and results."""
    with database.reading() as session:
        (prediction,) = _build_predictions(session, [repository.get(session, prediction_id)])
    return prediction


@router.delete("/{prediction_id}", status_code=204)
def delete_prediction(prediction_id: str, database: DatabaseDep, storage: StorageDep) -> None:
    """Delete a batch prediction that has ended, with its results."""
    with database.writing() as session:
        row = repository.get(session, prediction_id, lock=True)
        if row.status not in queued_work.TERMINAL:
            raise PredictionNotFinished(
                f"Prediction {prediction_id} is {row.status}; cancel it and wait until it is cancelled."
            )
        session.delete(row)
    try:
        storage.delete(repository.get_folder(prediction_id))
    except StorageUnavailable as error:
        log.warning("the sweep will remove the files of %s: %s", prediction_id, error)


@router.post("/{prediction_id}/cancel", status_code=202)
def cancel_prediction(prediction_id: str, database: DatabaseDep) -> BatchPrediction:
    """Cancel a batch prediction. A queued one is cancelled at once, a running one within seconds."""
    with database.writing() as session:
        row = repository.get(session, prediction_id, lock=True)
        queued_work.cancel(session, row)
        session.flush()
        (prediction,) = _build_predictions(session, [row])
    return prediction


@router.get("/{prediction_id}/events", response_model=Page[Event], responses=RESPONSES)
def list_prediction_events(
    request: Request,
    prediction_id: str,
    database: DatabaseDep,
    limit: PageSize = 100,
    after: After = None,
    accept: Accept = "application/json",
    last_event_id: LastEventId = None,
) -> Page[Event] | Response:
    """List a page of events; with `Accept: text/event-stream`, all events live until the prediction ends."""
    return give_events(
        request,
        database,
        EVENT_LOG,
        prediction_id,
        limit=limit,
        after=after,
        accept=accept,
        last_event_id=last_event_id,
    )


@router.head("/{prediction_id}/content", include_in_schema=False)
@router.get(
    "/{prediction_id}/content",
    response_class=Response,
    responses={
        200: {"content": {kind: {} for kind in MEDIA_TYPES.values()}},
        206: {"description": "The range of bytes that was asked for"},
        304: {"description": "If-None-Match names the same bytes"},
        416: {"description": "No byte lies in the range"},
    },
)
def download_predictions(
    request: Request, prediction_id: str, database: DatabaseDep, storage: StorageDep, format: Format = "csv"
) -> Response:
    """Download the results, a row for each image; docs/predictions.md lists the columns of each format."""
    with database.reading() as session:
        row = repository.get(session, prediction_id)
    if row.status not in queued_work.TERMINAL:
        raise PredictionNotFinished(f"Prediction {prediction_id} is {row.status}; its results follow when it succeeds.")
    if row.files is None:
        reason = (row.error or {}).get("message", "It was cancelled.")
        raise NoResults(f"Prediction {prediction_id} is {row.status} and has no results: {reason}")
    file = row.files[format]
    headers = build_headers(f"{prediction_id}.{format}", file["digest"])
    read = partial(read_stored, storage, file["key"])
    return give_content(request, file["bytes"], headers, read, MEDIA_TYPES[format])


def _build_predictions(session: Session, rows: list[tables.BatchPrediction]) -> list[BatchPrediction]:
    models = repository.find_models(session, [row.id for row in rows])
    return [BatchPrediction.from_row(row, models[row.id]) for row in rows]
