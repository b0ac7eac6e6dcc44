"""The states of a job and every transition between them.

    paused ◀──────────────── pausing
      │ ▲                       ▲
    resume pause                │ pause
      ▼ │                       │
    queued ──claim──▶ running ──┴──▶ succeeded | failed
      │    ◀─requeue──   │ cancel
      └──cancel──▶ cancelled ◀── cancelling

(requeue: crash, drain or postpone.)

Each transition is a function on a row that its caller has locked in the transaction (`repository.get` for the API,
`leases.fence` for a worker), so of two that race, one finds a state that it may not leave. Terminal states are left
by none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.jobs import repository, snapshots
from service.jobs.errors import WrongState
from service.tables import now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.tables import Job

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
INTERRUPTING = frozenset({"cancelling", "pausing"})
"""Whoever works on it shall leave off."""


def cancel(session: Session, job: Job) -> None:
    """queued, paused → cancelled; running, pausing → cancelling (its worker leaves off within seconds).

    Again: no change.
    """
    if job.status in {"cancelling", "cancelled"}:
        return
    _require(job, "be cancelled", "queued", "paused", "running", "pausing")
    if job.status in {"queued", "paused"}:
        _finish(session, job, "cancelled", "info", "Cancelled while it waited")
    else:
        job.status = "cancelling"


def pause(session: Session, job: Job) -> None:
    """queued → paused, running → pausing (its worker leaves off within seconds); again: no change."""
    if job.status in {"pausing", "paused"}:
        return
    _require(job, "be paused", "queued", "running")
    if job.status == "queued":
        _pause(session, job)
    else:
        job.status = "pausing"


def stop(session: Session, job: Job) -> None:
    """running → running, and soon succeeded with what is best so far; again: no change."""
    _require(job, "be stopped", "running")
    if not job.is_stopping:
        job.is_stopping = True
        repository.add_event(session, job, "info", "stopping", "Ends with what is best so far", {})


def resume(session: Session, job: Job) -> None:
    """paused → queued."""
    _require(job, "be resumed", "paused")
    job.status = "queued"
    repository.add_event(session, job, "info", "resumed", "Waits for a worker", {})


def interrupt(session: Session, job: Job) -> None:
    """cancelling → cancelled, pausing → paused: nobody works on it any more."""
    _require(job, "be left off", *INTERRUPTING)
    if job.status == "cancelling":
        _finish(session, job, "cancelled", "info", "Cancelled")
    else:
        _pause(session, job)


def start(session: Session, job: Job) -> None:
    """A claimed job begins an attempt: running → running, its first time noted."""
    _require(job, "start", "running")
    if job.started_at is None:
        job.started_at = session.scalar(now())
    job.phase = "preparing"
    if job.silent_worker is not None:
        lost = {"cause": "worker_died", "attempt": job.attempt - 1, "worker": job.silent_worker}
        message = "The worker running it died or stopped responding"
        repository.add_event(session, job, "warning", "crashed", message, lost)
    repository.add_event(session, job, "info", "started", f"Attempt {job.attempt} started", {"attempt": job.attempt})


def succeed(session: Session, job: Job, *, stop_reason: str, metrics: dict[str, Any]) -> None:
    """running → succeeded, with its results."""
    _require(job, "succeed", "running")
    job.stop_reason = stop_reason
    job.metrics = metrics
    job.progress = {**job.progress, "percent": 100.0, "eta_seconds": 0.0}
    part = "validation" if metrics["test"] is None else "test"  # a tiny dataset has no image left to test on
    figure, name = ("map", "mean average precision") if "map" in metrics[part] else ("accuracy", "accuracy")
    _finish(session, job, "succeeded", "info", f"Succeeded with a {part} {name} of {metrics[part][figure]:.1%}")


def fail(session: Session, job: Job, code: str, message: str) -> None:
    """running → failed: trying again would end the same way."""
    _require(job, "fail", "running")
    job.error = {"code": code, "message": message}
    _finish(session, job, "failed", "error", message)


def crash(session: Session, job: Job, cause: str, message: str) -> None:
    """running → queued after an attempt died, to be tried again."""
    repository.add_event(session, job, "warning", "crashed", message, {"cause": cause, "attempt": job.attempt})
    _requeue(job)


def drain(session: Session, job: Job) -> None:
    """running → queued: its worker gives it back, for any to take."""
    repository.add_event(session, job, "info", "drained", "Handed back; waits for a worker", {})
    _requeue(job)


def postpone(session: Session, job: Job, cause: str, message: str, seconds: float) -> None:
    """running → queued, and for a while nobody takes it: what it needs was not there."""
    repository.add_event(session, job, "warning", "postponed", message, {"cause": cause, "seconds": seconds})
    _requeue(job)
    job.wait(session, seconds)


def _requeue(job: Job) -> None:
    _require(job, "requeue", "running")
    job.status = "queued"
    job.phase = None
    job.release()


def _require(job: Job, action: str, *states: str) -> None:
    if job.status not in states:
        raise WrongState(f"Job {job.id} is {job.status}; only a {' or '.join(sorted(states))} job can {action}.")


def _pause(session: Session, job: Job) -> None:
    job.status, job.phase = "paused", None
    job.release()
    repository.add_event(session, job, "info", "paused", "Paused; it goes on when it is resumed", {})


def _finish(session: Session, job: Job, status: str, level: str, message: str) -> None:
    job.phase = None
    snapshots.forget(session, job.id)
    job.end(session, status)
    repository.add_event(session, job, level, status, message, {})
