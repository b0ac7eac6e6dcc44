"""Events of a log, by pages, or as server-sent events: replayed from any event, then live until the work ends.

A stream also ends within POLL_SECONDS when the API key that it was opened with is revoked, or expires.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from fastapi import Header
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.concurrency import run_in_threadpool

from service.keys import repository as keys
from service.pagination import Identified, Page, parse_position
from service.types import Timestamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from fastapi import Request, Response
    from sqlalchemy.orm import Session

    from service.database import Database

POLL_SECONDS = 0.25
HEARTBEAT_SECONDS = 15.0
"""Proxies close streams without data, usually after 30 s or 60 s."""
BATCH = 500

Accept = Annotated[str, Header()]
LastEventId = Annotated[str | None, Header()]
RESPONSES: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}}}
"""What an address of events answers beside a page of JSON, for OpenAPI."""


class Event(Identified):
    """An entry of a log; `seq` has no gaps."""

    seq: int
    time: Timestamp
    level: Literal["debug", "info", "warning", "error"]
    kind: str
    message: str
    data: dict[str, Any]


class EventLog(NamedTuple):
    """Logs of one kind of work."""

    require: Callable[[Session, str], object]
    """Raises an error where there is no work with an id."""
    is_over: Callable[[Session, str], bool]
    """Whether no event will follow: the work has ended, or is deleted."""
    find: Callable[[Session, str, int, int], Sequence[object]]
    """Finds events by the id of the work, above a number, at most a given number, in order."""


def give_events(
    request: Request,
    database: Database,
    log: EventLog,
    owner: str,
    *,
    limit: int,
    after: str | None,
    accept: str,
    last_event_id: str | None,
) -> Page[Event] | Response:
    """Give a page of events, or all of them live to a caller that accepts `text/event-stream`."""
    start = parse_position(owner, last_event_id or after)
    with database.reading() as session:
        log.require(session, owner)
        if "text/event-stream" in accept:
            return _stream_events(request, database, log, owner, start)
        rows = log.find(session, owner, start, limit + 1)
    return Page.from_items([Event.model_validate(row) for row in rows], limit)


def _stream_events(request: Request, database: Database, log: EventLog, owner: str, after: int) -> EventSourceResponse:
    """Stream all events above the number `after`; the stream ends with the work, or when it is deleted."""
    key: str | None = request.state.key
    # Without this header, buffering proxies delay events.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventSourceResponse(_poll_events(database, log, owner, after, key), headers=headers)


async def _poll_events(
    database: Database, log: EventLog, owner: str, after: int, key: str | None
) -> AsyncIterator[bytes]:
    idle_seconds = 0.0
    while True:
        events, ended = await run_in_threadpool(_read_new_events, database, log, owner, after, key)
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


def _read_new_events(
    database: Database, log: EventLog, owner: str, after: int, key: str | None
) -> tuple[list[Event], bool]:
    """Read new events, none of a stream whose key is not valid any more; True at the end of the stream."""
    with database.reading() as session:
        if key is not None and not keys.is_valid(session, key):
            return [], True
        # The state is read first: the transaction that ends the work writes its last event too.
        ended = log.is_over(session, owner)
        rows = log.find(session, owner, after, BATCH)
    return [Event.model_validate(row) for row in rows], ended and len(rows) < BATCH
