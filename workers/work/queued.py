"""Attempts at queued work, a batch prediction or a recommendation: how they end where they do not end the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from service import queued_work
from service.tables import BatchPrediction, Recommendation
from workers.work.base import Attempt, may_use_nvidia

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.database import Database
    from service.settings import Settings
    from workers.lease import Claim

Work = TypeVar("Work", BatchPrediction, Recommendation)


class QueuedAttempt(Attempt[Work], Generic[Work]):
    """One attempt at queued work, whose states are those of `queued_work`."""

    def __init__(self, database: Database, settings: Settings, claim: Claim[Work]) -> None:
        self.database, self.settings = database, settings
        self.claim: Claim[Work] = claim

    @property
    def may_use_gpu(self) -> bool:
        """True unless the settings or the machine rule out NVIDIA's."""
        return may_use_nvidia(self.settings)

    def fail(self, session: Session, row: Work, cause: str, message: str) -> None:
        """End the work as failed: it kept crashing."""
        queued_work.fail(session, row, cause, message)

    def crash(self, session: Session, row: Work, cause: str, message: str) -> None:
        """Requeue the work after a crash."""
        queued_work.requeue(session, row, "crashed", message, {"cause": cause, "attempt": row.attempt})

    def postpone(self, session: Session, row: Work, cause: str, message: str, seconds: float) -> None:
        """Requeue the work, to be claimed after `seconds`."""
        queued_work.requeue(session, row, "postponed", message, {"cause": cause, "seconds": seconds}, seconds)

    def drain(self, session: Session, row: Work) -> None:
        """Requeue the work because this worker is stopping."""
        queued_work.requeue(session, row, "drained", "The worker stopped; waiting for another", {})

    def interrupt(self, session: Session, row: Work) -> None:
        """End the cancelled work."""
        queued_work.interrupt(session, row)
