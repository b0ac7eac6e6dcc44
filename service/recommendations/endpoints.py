"""HTTP of recommendations."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from pydantic import BeforeValidator
from sqlalchemy.orm import Session

from service import idempotency, queued_work, tables
from service.dependencies import BodyDigestDep, CreatedByDep, DatabaseDep, IdempotencyKeyDep, QueueDep
from service.event_stream import RESPONSES, Accept, Event, EventLog, LastEventId, give_events
from service.json_body import JsonRoute
from service.pagination import After, Page, PageSize, shaped_like
from service.query_parameters import none_if_empty
from service.recommendations import creation, repository
from service.recommendations.errors import RecommendationNotFinished
from service.recommendations.schemas import Recommendation, RecommendationCreate
from service.statuses import WorkStatus

router = APIRouter(prefix="/v1", tags=["backbones"], route_class=JsonRoute)

EVENT_LOG = EventLog(
    repository.get,
    partial(queued_work.is_over, table=tables.Recommendation),
    partial(queued_work.find_events, table=tables.Recommendation),
)


@router.post("/backbones/recommend", status_code=202)
def recommend_backbones(
    body: RecommendationCreate,
    digest: BodyDigestDep,
    response: Response,
    tasks: BackgroundTasks,
    database: DatabaseDep,
    queue: QueueDep,
    created_by: CreatedByDep,
    key: IdempotencyKeyDep = None,
) -> Recommendation:
    """Rank backbones on the training images of a dataset. Poll the recommendation, or follow its events.

    The features that it computes are kept: a job on the same dataset finds them in the cache.
    """
    with database.writing() as session:
        create = partial(creation.create_recommendation, session, body, created_by)
        row = idempotency.create_once(session, key, digest, tables.Recommendation, create)
        (recommendation,) = _build_recommendations(session, [row])
    tasks.add_task(queue.wake)
    response.headers["Location"] = f"/v1/recommendations/{recommendation.id}"
    return recommendation


@router.get("/recommendations")
def list_recommendations(
    database: DatabaseDep,
    limit: PageSize = 20,
    after: Annotated[After, shaped_like("rec")] = None,
    status: Annotated[WorkStatus | None, BeforeValidator(none_if_empty), Query()] = None,
    dataset: Annotated[str | None, BeforeValidator(none_if_empty), Query()] = None,
) -> Page[Recommendation]:
    """List recommendations, newest first."""
    with database.reading() as session:
        rows = repository.find_page(session, limit=limit, after=after, status=status, dataset=dataset)
        return Page.from_items(_build_recommendations(session, rows), limit)


@router.get("/recommendations/{recommendation_id}")
def get_recommendation(recommendation_id: str, database: DatabaseDep) -> Recommendation:
    """Get a recommendation: its state, and the candidates as far as they are measured, best first."""
    with database.reading() as session:
        (recommendation,) = _build_recommendations(session, [repository.get(session, recommendation_id)])
    return recommendation


@router.delete("/recommendations/{recommendation_id}", status_code=204)
def delete_recommendation(recommendation_id: str, database: DatabaseDep) -> None:
    """Delete a recommendation that has ended. Cached features stay."""
    with database.writing() as session:
        row = repository.get(session, recommendation_id, lock=True)
        if row.status not in queued_work.TERMINAL:
            raise RecommendationNotFinished(
                f"Recommendation {recommendation_id} is {row.status}; cancel it and wait until it is cancelled."
            )
        session.delete(row)


@router.post("/recommendations/{recommendation_id}/cancel", status_code=202)
def cancel_recommendation(recommendation_id: str, database: DatabaseDep) -> Recommendation:
    """Cancel a recommendation. A queued one is cancelled at once, a running one within seconds."""
    with database.writing() as session:
        row = repository.get(session, recommendation_id, lock=True)
        queued_work.cancel(session, row)
        session.flush()
        (recommendation,) = _build_recommendations(session, [row])
    return recommendation


@router.get("/recommendations/{recommendation_id}/events", response_model=Page[Event], responses=RESPONSES)
def list_recommendation_events(
    request: Request,
    recommendation_id: str,
    database: DatabaseDep,
    limit: PageSize = 100,
    after: After = None,
    accept: Accept = "application/json",
    last_event_id: LastEventId = None,
) -> Page[Event] | Response:
    """List a page of events; with `Accept: text/event-stream`, all events live until the recommendation ends."""
    return give_events(
        request,
        database,
        EVENT_LOG,
        recommendation_id,
        limit=limit,
        after=after,
        accept=accept,
        last_event_id=last_event_id,
    )


def _build_recommendations(session: Session, rows: list[tables.Recommendation]) -> list[Recommendation]:
    candidates = repository.find_candidates(session, [row.id for row in rows])
    return [Recommendation.from_row(row, candidates[row.id]) for row in rows]
