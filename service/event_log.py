"""Logs of work: events, numbered without gaps under the lock of the row whose log it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import select

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.table_base import LogEntry

Entry = TypeVar("Entry", bound="LogEntry")


class Logged(Protocol):
    """A row that has a log."""

    id: str
    event_seq: int


def add(
    session: Session, row: Logged, log: type[LogEntry], level: str, kind: str, message: str, data: dict[str, Any]
) -> None:
    """Append an event to the log of a row, which must be locked."""
    row.event_seq += 1
    columns = {"seq": row.event_seq, "level": level, "kind": kind, "message": message, "data": data}
    session.add(log(**{log.owner: row.id, **columns}))


def find(session: Session, log: type[Entry], owner: str, after: int, limit: int) -> list[Entry]:
    """Find at most `limit` events of a row with numbers above `after`, in order."""
    events = select(log).where(getattr(log, log.owner) == owner, log.seq > after)
    return list(session.scalars(events.order_by(log.seq).limit(limit)))
