"""Recommendations as workers leave them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service import queued_work
from service.recommendations import repository
from service.statuses import WorkStatus

if TYPE_CHECKING:
    from service.database import Database

FIGURES = {
    "metric": "accuracy", "value": 0.9, "loss": 0.3, "replicates": [0.88, 0.9, 0.92], "constant": 0.5,
    "balanced_accuracy": 0.85, "sample": 100, "computed": 100, "seconds": 12.0, "seconds_per_image": 0.01,
    "checkpoint_bytes": 1000, "features_bytes": 200, "engine": "eager float32", "latency_seconds": 0.02,
}  # fmt: skip


def start(db: Database, recommendation: str) -> None:
    """Start it, as a worker does."""
    with db.writing() as session:
        row = repository.get(session, recommendation, lock=True)
        row.status, row.attempt = WorkStatus.RUNNING, 1
        queued_work.start(session, row, "", {})


def cancel(db: Database, recommendation: str) -> None:
    """Cancel it once its first candidate has figures, as a worker does."""
    start(db, recommendation)
    with db.writing() as session:
        repository.find_candidates(session, [recommendation])[recommendation][0].figures = FIGURES
        row = repository.get(session, recommendation, lock=True)
        queued_work.cancel(session, row)
        queued_work.interrupt(session, row)


def succeed(db: Database, recommendation: str) -> None:
    """End it with figures of its first candidate, and an error of the others, as a worker does."""
    start(db, recommendation)
    with db.writing() as session:
        for candidate in repository.find_candidates(session, [recommendation])[recommendation]:
            if candidate.position:
                candidate.error = {"code": "backbone_unknown", "message": "It is gone."}
            else:
                candidate.figures = FIGURES
        queued_work.succeed(session, repository.get(session, recommendation, lock=True), "1 of 2")
