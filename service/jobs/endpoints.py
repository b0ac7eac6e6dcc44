"""HTTP of jobs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BeforeValidator, TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from service import idempotency, tables
from service.backbones import listings
from service.checkpoints import deletion
from service.checkpoints import repository as checkpoints
from service.database import Database
from service.dependencies import BodyDigestDep, CreatedByDep, DatabaseDep, IdempotencyKeyDep, QueueDep
from service.event_stream import RESPONSES, Accept, Event, EventLog, LastEventId, give_events
from service.jobs import candidates, comparison, creation, lifecycle, repository
from service.jobs.candidates import Candidate
from service.jobs.errors import JobNotFinished, JobsNotComparable
from service.jobs.schemas import Comparison, Epoch, Job, JobCreate, Metadata, Trial
from service.json_body import JsonRoute
from service.pagination import After, Page, PageSize, parse_position, shaped_like
from service.query_parameters import find_labels, none_if_empty
from service.statuses import JobStatus

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=JsonRoute)

EVENT_LOG = EventLog(repository.get, lifecycle.is_over, repository.find_events)
MOST_COMPARED = 50
_METADATA: TypeAdapter[dict[str, str]] = TypeAdapter(Metadata)
_METADATA_FILTER = {
    "parameters": [
        {
            "name": "metadata",
            "in": "query",
            "style": "deepObject",
            "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        }
    ]
}


@router.post("", status_code=202)
def create_job(
    body: JobCreate,
    digest: BodyDigestDep,
    response: Response,
    tasks: BackgroundTasks,
    database: DatabaseDep,
    queue: QueueDep,
    created_by: CreatedByDep,
    key: IdempotencyKeyDep = None,
) -> Job:
    """Start a fine-tuning. Poll the job, or follow its events."""
    with database.writing() as session:
        create = partial(creation.create_job, session, body, created_by)
        row = idempotency.create_once(session, key, digest, tables.Job, create)
        (job,) = _build_jobs(session, [row])
    tasks.add_task(queue.wake)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("", openapi_extra=_METADATA_FILTER)
def list_jobs(
    request: Request,
    database: DatabaseDep,
    limit: PageSize = 20,
    after: Annotated[After, shaped_like("job")] = None,
    status: Annotated[JobStatus | None, BeforeValidator(none_if_empty), Query()] = None,
    dataset: Annotated[str | None, BeforeValidator(none_if_empty), Query()] = None,
    backbone: Annotated[str | None, BeforeValidator(none_if_empty), Query()] = None,
) -> Page[Job]:
    """List jobs, newest first. `metadata[KEY]=VALUE` keeps those that carry this label."""
    details = _parse_labels(find_labels(request, "metadata"))
    with database.reading() as session:
        rows = repository.find_page(
            session,
            limit=limit,
            after=after,
            status=status,
            dataset=dataset,
            backbone=backbone,
            details=details,
        )
        return Page.from_items(_build_jobs(session, rows), limit)


@router.get("/compare")
def compare_jobs(
    ids: Annotated[str, Query(max_length=2000, description="Ids of 2 to 50 jobs, separated by commas.")],
    database: DatabaseDep,
) -> Comparison:
    """Compare jobs: results side by side, whether they were tested on the same images, and how their recipes differ."""
    wanted = list(dict.fromkeys(part.strip() for part in ids.split(",") if part.strip()))
    if not 2 <= len(wanted) <= MOST_COMPARED:
        raise JobsNotComparable(
            f"ids names {len(wanted)} different jobs; name 2 to {MOST_COMPARED}, separated by commas."
        )
    with database.reading() as session:
        rows = [repository.get(session, job_id) for job_id in wanted]
        return comparison.compare(rows, repository.find_checkpoint_ids(session, rows))


@router.get("/{job_id}")
def get_job(job_id: str, database: DatabaseDep) -> Job:
    """Get a job: its state, progress and results."""
    with database.reading() as session:
        (job,) = _build_jobs(session, [repository.get(session, job_id)])
    return job


@router.delete("/{job_id}", status_code=204)
def delete_job(job_id: str, database: DatabaseDep, deleted_by: CreatedByDep) -> None:
    """Delete a finished job with its events, metrics and checkpoints; 409 while one of these is needed."""
    with database.writing() as session:
        row = repository.get(session, job_id, lock=True)
        if row.status not in lifecycle.TERMINAL:
            raise JobNotFinished(f"Job {job_id} is {row.status}; cancel it and wait until it is cancelled.")
        results = checkpoints.find_by_job(session, job_id, lock=True)
        deletion.require_unused(session, [checkpoint.id for checkpoint in results])
        deletion.remember(session, results, deleted_by=deleted_by)
        session.delete(row)


@router.post("/{job_id}/cancel", status_code=202)
def cancel_job(job_id: str, database: DatabaseDep) -> Job:
    """Cancel a job. A queued one is cancelled at once, a running one within seconds."""
    return _transition(database, job_id, lifecycle.cancel)


@router.post("/{job_id}/pause", status_code=202)
def pause_job(job_id: str, database: DatabaseDep) -> Job:
    """Pause a job until it is resumed. A queued one is paused at once, a running one within seconds."""
    return _transition(database, job_id, lifecycle.pause)


@router.post("/{job_id}/stop", status_code=202)
def stop_job(job_id: str, database: DatabaseDep) -> Job:
    """Stop a running job now and keep its best epoch, tested and stored."""
    return _transition(database, job_id, lifecycle.stop)


@router.post("/{job_id}/resume", status_code=202)
def resume_job(job_id: str, tasks: BackgroundTasks, database: DatabaseDep, queue: QueueDep) -> Job:
    """Resume a paused job, on any worker."""
    tasks.add_task(queue.wake)
    return _transition(database, job_id, lifecycle.resume)


@router.get("/{job_id}/events", response_model=Page[Event], responses=RESPONSES)
def list_events(
    request: Request,
    job_id: str,
    database: DatabaseDep,
    limit: PageSize = 100,
    after: After = None,
    accept: Accept = "application/json",
    last_event_id: LastEventId = None,
) -> Page[Event] | Response:
    """List a page of events; with `Accept: text/event-stream`, all events live until the job ends."""
    return give_events(
        request, database, EVENT_LOG, job_id, limit=limit, after=after, accept=accept, last_event_id=last_event_id
    )


@router.get("/{job_id}/metrics")
def list_metrics(job_id: str, database: DatabaseDep, limit: PageSize = 1000, after: After = None) -> Page[Epoch]:
    """List the metrics of each epoch."""
    start = parse_position(job_id, after)
    with database.reading() as session:
        repository.get(session, job_id)
        rows = repository.find_epochs(session, job_id, after=start, limit=limit + 1)
    return Page.from_items([Epoch.model_validate(row) for row in rows], limit)


@router.get("/{job_id}/trials")
def list_trials(job_id: str, database: DatabaseDep, limit: PageSize = 1000, after: After = None) -> Page[Trial]:
    """List the heads that a search has tried, the best first."""
    start = parse_position(job_id, after)
    with database.reading() as session:
        repository.get(session, job_id)
        rows = repository.find_trials(session, job_id, after=start, limit=limit + 1)
    return Page.from_items([Trial.model_validate(row) for row in rows], limit)


@router.get("/{job_id}/candidates")
def list_candidates(job_id: str, database: DatabaseDep, limit: PageSize = 100, after: After = None) -> Page[Candidate]:
    """List the recipes that a job with a `quality` has tried or left out, the first one first."""
    start = parse_position(job_id, after)
    with database.reading() as session:
        repository.get(session, job_id)
        found = candidates.build_candidates(repository.find_candidates(session, job_id))
    return Page.from_items([one for one in found if one.number > start][: limit + 1], limit)


def _parse_labels(labels: dict[str, str]) -> dict[str, str]:
    """Check the labels of a filter as those of a job are checked. Raises RequestValidationError."""
    try:
        return _METADATA.validate_python(labels)
    except ValidationError as error:
        errors = [{**found, "loc": ("query", "metadata", *found["loc"])} for found in error.errors()]
        raise RequestValidationError(errors) from None


def _transition(database: Database, job_id: str, transition: Callable[[Session, tables.Job], None]) -> Job:
    """Lock a job, change its state in one transaction, and build its JSON."""
    with database.writing() as session:
        row = repository.get(session, job_id, lock=True)
        transition(session, row)
        session.flush()
        (job,) = _build_jobs(session, [row])
    return job


def _build_jobs(session: Session, rows: list[tables.Job]) -> list[Job]:
    results = repository.find_checkpoint_ids(session, rows)
    positions = repository.find_queue_positions(session, rows)
    named = repository.find_backbones(session, rows)
    lacking = listings.find_lacking(session, rows, named)
    return [
        Job.from_row(row, named[row.id], results[row.id], positions.get(row.id), lacking.get(row.id)) for row in rows
    ]
