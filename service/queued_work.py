"""State machine of queued work, a batch prediction or a recommendation: every transition between its states.

    queued ──claim──▶ running ──▶ succeeded | failed
      │    ◀─requeue──   │ cancel
      └──cancel──▶ cancelled ◀── cancelling

(requeue: crash, drain or postpone.)

As of jobs, each transition is a function on a row that its caller has locked in the transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from service import event_log
from service.errors import WrongState
from service.statuses import WorkStatus
from service.tables import BatchPrediction, Recommendation, now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

    from service.table_base import LogEntry, QueuedWork

TABLES: tuple[type[QueuedWork], ...] = (BatchPrediction, Recommendation)
TERMINAL = frozenset({WorkStatus.SUCCEEDED, WorkStatus.FAILED, WorkStatus.CANCELLED})


def add_event(session: Session, work: QueuedWork, level: str, kind: str, message: str, data: dict[str, Any]) -> None:
    """Append an event; the row must be locked, so that events are numbered without gaps."""
    event_log.add(session, work, work.log, level, kind, message, data)


def find_events(session: Session, work_id: str, after: int, limit: int, *, table: type[QueuedWork]) -> list[LogEntry]:
    """Find at most `limit` events of work with numbers above `after`, in order."""
    return event_log.find(session, table.log, work_id, after, limit)


def is_over(session: Session, work_id: str, *, table: type[QueuedWork]) -> bool:
    """Tell whether work has ended, or is deleted: no event follows."""
    work = session.get(table, work_id)
    return work is None or work.status in TERMINAL


def find_unfinished_of_dataset(session: Session, table: type[QueuedWork], dataset_id: str) -> str | None:
    """Find work that has not ended, and reads a dataset's images."""
    unfinished = select(table.id).where(table.dataset_id == dataset_id, table.finished_at.is_(None))
    return session.scalar(unfinished.limit(1))


def cancel(session: Session, work: QueuedWork) -> None:
    """Cancel: queued → cancelled; running → cancelling (its worker ends it within seconds).

    Repeated, it changes nothing.
    """
    if work.status in {WorkStatus.CANCELLING, WorkStatus.CANCELLED}:
        return
    _require(work, "be cancelled", WorkStatus.QUEUED, WorkStatus.RUNNING)
    if work.status == WorkStatus.QUEUED:
        _finish(session, work, WorkStatus.CANCELLED, "info", "Cancelled while waiting")
    else:
        work.status = WorkStatus.CANCELLING


def interrupt(session: Session, work: QueuedWork) -> None:
    """cancelling → cancelled: its worker has ended the attempt, or has died."""
    _require(work, "be interrupted", WorkStatus.CANCELLING)
    _finish(session, work, WorkStatus.CANCELLED, "info", "Cancelled")


def interrupt_orphans(session: Session) -> None:
    """Cancel what a worker was to end, but died before it could."""
    for table in TABLES:
        cancelled = select(table).where(table.status == WorkStatus.CANCELLING, table.lease_until < now())
        for work in session.scalars(cancelled.with_for_update(skip_locked=True)):
            interrupt(session, work)


def start(session: Session, work: QueuedWork, kept: str, data: Mapping[str, Any]) -> None:
    """Start an attempt at claimed work; `kept` says what earlier attempts have done, or nothing."""
    _require(work, "start", WorkStatus.RUNNING)
    if work.started_at is None:
        work.started_at = session.scalar(now())
    if work.silent_worker is not None:
        lost = {"cause": "worker_died", "attempt": work.attempt - 1, "worker": work.silent_worker}
        add_event(session, work, "warning", "crashed", "The worker running it died or stopped responding", lost)
    message = f"Attempt {work.attempt} started{kept and f', after {kept}'}"
    add_event(session, work, "info", "started", message, {"attempt": work.attempt, **data})


def succeed(session: Session, work: QueuedWork, message: str) -> None:
    """End work whose results are written: running → succeeded."""
    _require(work, "succeed", WorkStatus.RUNNING)
    work.progress = {**work.progress, "percent": 100.0, "eta_seconds": 0.0}
    _finish(session, work, WorkStatus.SUCCEEDED, "info", f"Succeeded: {message}")


def fail(session: Session, work: QueuedWork, code: str, message: str) -> None:
    """End work that another attempt could not save: running → failed."""
    _require(work, "fail", WorkStatus.RUNNING)
    work.error = {"code": code, "message": message}
    _finish(session, work, WorkStatus.FAILED, "error", message)


def requeue(
    session: Session, work: QueuedWork, kind: str, message: str, data: Mapping[str, Any], wait: float = 0.0
) -> None:
    """Requeue after a crash or a drain, or because something that it needs was missing: running → queued.

    No worker claims it for `wait` seconds.
    """
    _require(work, "be queued again", WorkStatus.RUNNING)
    add_event(session, work, "info" if kind == "drained" else "warning", kind, message, dict(data))
    work.status = WorkStatus.QUEUED
    work.release()
    if wait:
        work.wait(session, wait)


def _require(work: QueuedWork, action: str, *states: WorkStatus) -> None:
    if work.status not in states:
        raise WrongState(
            f"{work.noun} {work.id} is {work.status}; only a {' or '.join(sorted(states))} one can {action}."
        )


def _finish(session: Session, work: QueuedWork, status: WorkStatus, level: str, message: str) -> None:
    work.end(session, status)
    add_event(session, work, level, status, message, {})
