"""HTTP of jobs."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Header, Query, Request, Response
from sqlalchemy.orm import Session

from service import idempotency, tables
from service.dependencies import DatabaseDep, IdempotencyKeyDep, QueueDep
from service.jobs import creation, event_stream, lifecycle, repository
from service.jobs.errors import JobNotFinished
from service.jobs.schemas import Epoch, Event, Job, JobCreate, Status, Trial
from service.pagination import After, Limit, Page, position

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_METADATA = re.compile(r"metadata\[(.*)\]")


@router.post("", status_code=202)
def create_job(
    order: JobCreate,
    response: Response,
    tasks: BackgroundTasks,
    database: DatabaseDep,
    queue: QueueDep,
    key: IdempotencyKeyDep = None,
) -> Job:
    """Ask for a fine-tuning. Poll the job, or follow its events."""
    digest = hashlib.sha256(b"POST /v1/jobs\n" + order.model_dump_json().encode()).hexdigest()
    with database.writing() as session:
        earlier = idempotency.earlier(session, key, digest, tables.Job) if key else None
        row = earlier or creation.create_job(session, order)
        if key and not earlier:
            idempotency.remember(session, key, digest, row.id)
        session.flush()
        session.refresh(row)
        job = _job(session, row)
    tasks.add_task(queue.wake)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job


@router.get("")
def list_jobs(
    request: Request,
    database: DatabaseDep,
    limit: Limit = 20,
    after: After = None,
    status: Annotated[Status | None, Query()] = None,
    dataset: Annotated[str | None, Query()] = None,
    backbone: Annotated[str | None, Query()] = None,
) -> Page[Job]:
    """Jobs, newest first. `metadata[KEY]=VALUE` keeps those that carry this label."""
    details = {found[1]: value for name, value in request.query_params.items() if (found := _METADATA.fullmatch(name))}
    with database.reading() as session:
        rows = repository.page(
            session,
            limit=limit,
            after=after,
            status=status,
            dataset=dataset,
            backbone=backbone,
            details=details,
        )
        positions = repository.queue_positions(session, rows)
        checkpoints = repository.checkpoint_ids(session, rows)
    return Page.of([Job.of(row, checkpoints[row.id], positions.get(row.id)) for row in rows], limit)


@router.get("/{job_id}")
def get_job(job_id: str, database: DatabaseDep) -> Job:
    """One job as it is now."""
    with database.reading() as session:
        return _job(session, repository.get(session, job_id))


@router.delete("/{job_id}", status_code=204)
def delete_job(job_id: str, database: DatabaseDep) -> None:
    """Forget a finished job with its events, metrics and checkpoints."""
    with database.writing() as session:
        row = repository.get(session, job_id, lock=True)
        if row.status not in lifecycle.TERMINAL:
            raise JobNotFinished(f"Job {job_id} is {row.status}; cancel it and wait until it is cancelled.")
        session.delete(row)


@router.post("/{job_id}/cancel", status_code=202)
def cancel_job(job_id: str, database: DatabaseDep) -> Job:
    """End a job. A queued one is cancelled at once, a running one within seconds."""
    with database.writing() as session:
        row = repository.get(session, job_id, lock=True)
        lifecycle.cancel(session, row)
        session.flush()
        return _job(session, row)


@router.post("/{job_id}/pause", status_code=202)
def pause_job(job_id: str, database: DatabaseDep) -> Job:
    """Have a job wait until it is resumed. A queued one is paused at once, a running one within seconds."""
    with database.writing() as session:
        row = repository.get(session, job_id, lock=True)
        lifecycle.pause(session, row)
        session.flush()
        return _job(session, row)


@router.post("/{job_id}/stop", status_code=202)
def stop_job(job_id: str, database: DatabaseDep) -> Job:
    """End a running job now, with the best that it has reached, tested and stored."""
    with database.writing() as session:
        row = repository.get(session, job_id, lock=True)
        lifecycle.stop(session, row)
        session.flush()
        return _job(session, row)


@router.post("/{job_id}/resume", status_code=202)
def resume_job(job_id: str, tasks: BackgroundTasks, database: DatabaseDep, queue: QueueDep) -> Job:
    """Have a paused job go on, on any worker."""
    with database.writing() as session:
        row = repository.get(session, job_id, lock=True)
        lifecycle.resume(session, row)
        session.flush()
        job = _job(session, row)
    tasks.add_task(queue.wake)
    return job


@router.get("/{job_id}/events", response_model=Page[Event], responses={200: {"content": {"text/event-stream": {}}}})
def list_events(
    request: Request,
    job_id: str,
    database: DatabaseDep,
    limit: Limit = 100,
    after: After = None,
    accept: Annotated[str, Header()] = "application/json",
    last_event_id: Annotated[str | None, Header()] = None,
) -> Page[Event] | Response:
    """A page of events; with `Accept: text/event-stream`, all events live until the job ends."""
    start = position(job_id, last_event_id or after)
    with database.reading() as session:
        repository.get(session, job_id)
        if "text/event-stream" in accept:
            return event_stream.response(database, job_id, start)
        rows = repository.events(session, job_id, after=start, limit=limit + 1)
    return Page.of([Event.of(row) for row in rows], limit)


@router.get("/{job_id}/metrics")
def list_metrics(job_id: str, database: DatabaseDep, limit: Limit = 1000, after: After = None) -> Page[Epoch]:
    """A row for each epoch."""
    start = position(job_id, after)
    with database.reading() as session:
        repository.get(session, job_id)
        rows = repository.epochs(session, job_id, after=start, limit=limit + 1)
    return Page.of([Epoch.of(row) for row in rows], limit)


@router.get("/{job_id}/trials")
def list_trials(job_id: str, database: DatabaseDep, limit: Limit = 1000, after: After = None) -> Page[Trial]:
    """The heads that a search has tried, the best first."""
    first = position(job_id, after) + 1
    with database.reading() as session:
        repository.get(session, job_id)
        rows = repository.trials(session, job_id)[first : first + limit + 1]
    return Page.of([Trial(id=f"{job_id}.{place}", **row) for place, row in enumerate(rows, first)], limit)


def _job(session: Session, row: tables.Job) -> Job:
    return Job.of(
        row,
        repository.checkpoint_ids(session, [row])[row.id],
        repository.queue_positions(session, [row]).get(row.id),
    )
