"""State machine of a job: its states, and every transition between them.

    paused ◀──────────────── pausing
      │ ▲                       ▲
    resume pause                │ pause
      ▼ │                       │
    queued ──claim──▶ running ──┴──▶ succeeded | failed
      │    ◀─requeue──   │ cancel
      └──cancel──▶ cancelled ◀── cancelling

(requeue: crash, drain or postpone.)

Each transition is a function on a row that its caller has locked in the transaction (`repository.get` for the API,
`lease.fence` for a worker), so of two that race, one finds a state that it may not leave. No transition leaves a
terminal state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.errors import WrongState
from service.jobs import repository, snapshots
from service.statuses import JobStatus
from service.tables import Job, now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})
INTERRUPTING = frozenset({JobStatus.CANCELLING, JobStatus.PAUSING})
"""States in which the job's worker must end the attempt, and write nothing else."""


def is_over(session: Session, job_id: str) -> bool:
    """Tell whether a job has ended, or is deleted: no event follows."""
    job = session.get(Job, job_id)
    return job is None or job.status in TERMINAL


def cancel(session: Session, job: Job) -> None:
    """Cancel a job: queued, paused → cancelled; running, pausing → cancelling (its worker ends it within seconds).

    Repeated, it changes nothing.
    """
    if job.status in {JobStatus.CANCELLING, JobStatus.CANCELLED}:
        return
    waiting = {JobStatus.QUEUED, JobStatus.PAUSED}
    _require(job, "be cancelled", *waiting, JobStatus.RUNNING, JobStatus.PAUSING)
    if job.status in waiting:
        _finish(session, job, JobStatus.CANCELLED, "info", "Cancelled while waiting")
    else:
        job.status = JobStatus.CANCELLING


def pause(session: Session, job: Job) -> None:
    """Pause a job: queued → paused; running → pausing (its worker ends the attempt within seconds).

    Repeated, it changes nothing.
    """
    if job.status in {JobStatus.PAUSING, JobStatus.PAUSED}:
        return
    _require(job, "be paused", JobStatus.QUEUED, JobStatus.RUNNING)
    if job.status == JobStatus.QUEUED:
        _pause(session, job)
    else:
        job.status = JobStatus.PAUSING


def stop(session: Session, job: Job) -> None:
    """Ask a running job to stop, and soon succeed with its best epoch so far. Repeated, it changes nothing."""
    _require(job, "be stopped", JobStatus.RUNNING)
    if not job.is_stopping:
        job.is_stopping = True
        repository.add_event(session, job, "info", "stopping", "Stopping; keeping the best epoch", {})


def resume(session: Session, job: Job) -> None:
    """Resume a job: paused → queued."""
    _require(job, "be resumed", JobStatus.PAUSED)
    job.status = JobStatus.QUEUED
    repository.add_event(session, job, "info", "resumed", "Resumed; waiting for a worker", {})


def interrupt(session: Session, job: Job) -> None:
    """cancelling → cancelled, pausing → paused: its worker has ended the attempt, or has died."""
    _require(job, "be interrupted", *INTERRUPTING)
    if job.status == JobStatus.CANCELLING:
        _finish(session, job, JobStatus.CANCELLED, "info", "Cancelled")
    else:
        _pause(session, job)


def start(session: Session, job: Job) -> None:
    """Start an attempt at a claimed job, which is running already."""
    _require(job, "start", JobStatus.RUNNING)
    if job.started_at is None:
        job.started_at = session.scalar(now())
    job.phase = "preparing"
    if job.silent_worker is not None:
        lost = {"cause": "worker_died", "attempt": job.attempt - 1, "worker": job.silent_worker}
        message = "The worker running it died or stopped responding"
        repository.add_crash(session, job, job.attempt - 1, "worker_died")
        repository.add_event(session, job, "warning", "crashed", message, lost)
    repository.add_event(session, job, "info", "started", f"Attempt {job.attempt} started", {"attempt": job.attempt})


def succeed(session: Session, job: Job, *, stop_reason: str, metrics: dict[str, Any]) -> None:
    """End a job with its results: running → succeeded."""
    _require(job, "succeed", JobStatus.RUNNING)
    job.stop_reason = stop_reason
    job.metrics = metrics
    job.progress = {**job.progress, "percent": 100.0, "eta_seconds": 0.0}
    _finish(session, job, JobStatus.SUCCEEDED, "info", f"Succeeded: {_describe_result(metrics)}")


def _describe_result(metrics: dict[str, Any]) -> str:
    """Describe the accuracy of a job, beside the mean over classes and that of the constant predictor."""
    split = "validation" if metrics["test"] is None else "test"  # a tiny dataset has no image left to test on
    figures = metrics[split]
    if "map" in figures:
        return f"{split} mean average precision {figures['map']:.1%}"
    result = f"{split} accuracy {figures['accuracy']:.1%}"
    if "constant_accuracy" not in figures:
        return result
    return (
        f"{result}, balanced {figures['balanced_accuracy']:.1%}; "
        f"always the most frequent class would give {figures['constant_accuracy']:.1%}"
    )


def fail(session: Session, job: Job, code: str, message: str) -> None:
    """End a job that another attempt could not save: running → failed."""
    _require(job, "fail", JobStatus.RUNNING)
    job.error = {"code": code, "message": message}
    _finish(session, job, JobStatus.FAILED, "error", message)


def crash(session: Session, job: Job, cause: str, message: str) -> None:
    """Requeue a job whose attempt died: running → queued."""
    repository.add_crash(session, job, job.attempt, cause)
    repository.add_event(session, job, "warning", "crashed", message, {"cause": cause, "attempt": job.attempt})
    _requeue(job)


def drain(session: Session, job: Job) -> None:
    """Requeue a job whose worker stops, for any worker: running → queued."""
    repository.add_event(session, job, "info", "drained", "The worker stopped; waiting for another", {})
    _requeue(job)


def postpone(session: Session, job: Job, cause: str, message: str, seconds: float) -> None:
    """Requeue a job that lacked something that it needs, not to be claimed for `seconds`: running → queued."""
    repository.add_event(session, job, "warning", "postponed", message, {"cause": cause, "seconds": seconds})
    _requeue(job)
    job.wait(session, seconds)


def _requeue(job: Job) -> None:
    _require(job, "be queued again", JobStatus.RUNNING)
    job.status = JobStatus.QUEUED
    job.phase = None
    job.release()


def _require(job: Job, action: str, *states: JobStatus) -> None:
    if job.status not in states:
        raise WrongState(f"Job {job.id} is {job.status}; only a {' or '.join(sorted(states))} job can {action}.")


def _pause(session: Session, job: Job) -> None:
    job.status, job.phase = JobStatus.PAUSED, None
    job.release()
    repository.add_event(session, job, "info", "paused", "Paused; resume it to continue", {})


def _finish(session: Session, job: Job, status: JobStatus, level: str, message: str) -> None:
    job.phase = None
    snapshots.forget(session, job.id)
    job.end(session, status)
    repository.add_event(session, job, level, status, message, {})
