"""Server-sent events of a job: replayed from any event, then live until the job ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.concurrency import run_in_threadpool

from service.jobs import lifecycle, repository
from service.jobs.schemas import Event
from service.tables import Job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.database import Database

POLL_SECONDS = 0.25
HEARTBEAT_SECONDS = 15.0
"""Proxies close streams without data, usually after 30 s or 60 s."""
BATCH = 500


def stream_events(database: Database, job_id: str, after: int) -> EventSourceResponse:
    """Stream all events above the number `after`; the stream ends with the job, or when the job is deleted."""
    # Without this header, buffering proxies delay events.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventSourceResponse(_poll_events(database, job_id, after), headers=headers)


async def _poll_events(database: Database, job_id: str, after: int) -> AsyncIterator[bytes]:
    idle_seconds = 0.0
    while True:
        events, ended = await run_in_threadpool(_read_new_events, database, job_id, after)
        if events:
            after = events[-1].seq
            # In one chunk: a client that has disconnected is noticed between chunks only.
            yield b"".join(
                format_sse_event(id=event.id, event=event.kind, data_str=event.model_dump_json()) for event in events
            )
        if ended:
            return
        idle_seconds = 0.0 if events else idle_seconds + POLL_SECONDS
        if idle_seconds >= HEARTBEAT_SECONDS:
            idle_seconds = 0.0
            yield format_sse_event(comment="keep-alive")
        await asyncio.sleep(POLL_SECONDS)


def _read_new_events(database: Database, job_id: str, after: int) -> tuple[list[Event], bool]:
    with database.reading() as session:
        # The state is read first: the transaction that ends a job writes its last event too.
        job = session.get(Job, job_id)
        ended = job is None or job.status in lifecycle.TERMINAL
        rows = repository.find_events(session, job_id, after=after, limit=BATCH)
    return [Event.model_validate(row) for row in rows], ended and len(rows) < BATCH
