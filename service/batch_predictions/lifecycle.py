"""State machine of a batch prediction: its states, and every transition between them.

    queued ──claim──▶ running ──▶ succeeded | failed
      │    ◀─requeue──   │ cancel
      └──cancel──▶ cancelled ◀── cancelling

(requeue: crash, drain or postpone.)

As of jobs, each transition is a function on a row that its caller has locked in the transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.batch_predictions import repository
from service.errors import WrongState
from service.statuses import PredictionStatus
from service.tables import BatchPrediction, now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

TERMINAL = frozenset({PredictionStatus.SUCCEEDED, PredictionStatus.FAILED, PredictionStatus.CANCELLED})


def is_over(session: Session, prediction_id: str) -> bool:
    """Tell whether a batch prediction has ended, or is deleted: no event follows."""
    prediction = session.get(BatchPrediction, prediction_id)
    return prediction is None or prediction.status in TERMINAL


def cancel(session: Session, prediction: BatchPrediction) -> None:
    """Cancel: queued → cancelled; running → cancelling (its worker ends it within seconds).

    Repeated, it changes nothing.
    """
    if prediction.status in {PredictionStatus.CANCELLING, PredictionStatus.CANCELLED}:
        return
    _require(prediction, "be cancelled", PredictionStatus.QUEUED, PredictionStatus.RUNNING)
    if prediction.status == PredictionStatus.QUEUED:
        _finish(session, prediction, PredictionStatus.CANCELLED, "info", "Cancelled while waiting")
    else:
        prediction.status = PredictionStatus.CANCELLING


def interrupt(session: Session, prediction: BatchPrediction) -> None:
    """cancelling → cancelled: its worker has ended the attempt, or has died."""
    _require(prediction, "be interrupted", PredictionStatus.CANCELLING)
    _finish(session, prediction, PredictionStatus.CANCELLED, "info", "Cancelled")


def start(session: Session, prediction: BatchPrediction, done: int) -> None:
    """Start an attempt at a claimed batch prediction, `done` of whose images are stored already."""
    _require(prediction, "start", PredictionStatus.RUNNING)
    if prediction.started_at is None:
        prediction.started_at = session.scalar(now())
    if prediction.silent_worker is not None:
        lost = {"cause": "worker_died", "attempt": prediction.attempt - 1, "worker": prediction.silent_worker}
        message = "The worker running it died or stopped responding"
        repository.add_event(session, prediction, "warning", "crashed", message, lost)
    attempt: dict[str, Any] = {"attempt": prediction.attempt, "images": done}
    kept = f", after {done:,} images that are stored" if done else ""
    repository.add_event(session, prediction, "info", "started", f"Attempt {prediction.attempt} started{kept}", attempt)


def succeed(session: Session, prediction: BatchPrediction, files: dict[str, Any], errors: int) -> None:
    """End a batch prediction with its results: running → succeeded."""
    _require(prediction, "succeed", PredictionStatus.RUNNING)
    prediction.files = files
    prediction.progress = {**prediction.progress, "percent": 100.0, "eta_seconds": 0.0}
    without = f", {errors:,} of them without predictions" if errors else ""
    message = f"Succeeded: {prediction.images:,} images{without}"
    _finish(session, prediction, PredictionStatus.SUCCEEDED, "info", message)


def fail(session: Session, prediction: BatchPrediction, code: str, message: str) -> None:
    """End a batch prediction that another attempt could not save: running → failed."""
    _require(prediction, "fail", PredictionStatus.RUNNING)
    prediction.error = {"code": code, "message": message}
    _finish(session, prediction, PredictionStatus.FAILED, "error", message)


def requeue(
    session: Session, prediction: BatchPrediction, kind: str, message: str, data: Mapping[str, Any], wait: float = 0.0
) -> None:
    """Requeue after a crash or a drain, or because something that it needs was missing: running → queued.

    No worker claims it for `wait` seconds.
    """
    _require(prediction, "be queued again", PredictionStatus.RUNNING)
    level = "info" if kind == "drained" else "warning"
    repository.add_event(session, prediction, level, kind, message, dict(data))
    prediction.status = PredictionStatus.QUEUED
    prediction.release()
    if wait:
        prediction.wait(session, wait)


def _require(prediction: BatchPrediction, action: str, *states: PredictionStatus) -> None:
    if prediction.status not in states:
        raise WrongState(
            f"Prediction {prediction.id} is {prediction.status}; only a {' or '.join(sorted(states))} one can {action}."
        )


def _finish(session: Session, prediction: BatchPrediction, status: PredictionStatus, level: str, message: str) -> None:
    repository.forget_parts(session, prediction.id)
    prediction.end(session, status)
    repository.add_event(session, prediction, level, status, message, {})
