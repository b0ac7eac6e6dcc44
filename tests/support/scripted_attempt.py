"""An attempt at a job whose child follows a script, and its supervision."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from service.jobs import lifecycle
from tests.support.child_work import Count, Order
from tests.support.jobs import read_job
from workers.supervisor import Supervisor
from workers.work.base import InterruptRequested
from workers.work.training import JobAttempt

if TYPE_CHECKING:
    from pydantic import BaseModel
    from sqlalchemy.orm import Session

    from service.database import Database
    from service.settings import Settings
    from service.tables import Job
    from workers.lease import Claim


class ScriptedAttempt(JobAttempt):
    """Its child sends three events, and then ends as `do` says: the third event ends the job if `do` is "end"."""

    module = "tests.support.child_work"

    def __init__(self, database: Database, settings: Settings, claim: Claim[Job], do: str) -> None:
        super().__init__(database, settings, claim)
        self.do = do
        self.recorded = 0

    def start(self, session: Session, row: Job) -> BaseModel:  # type: ignore[override]
        """Start the job; its child gets the script."""
        lifecycle.start(session, row)
        return Order(do=self.do, times=3)

    def prepare(self, lines: list[bytes]) -> None:
        """Prepare nothing."""

    def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
        """End the job with the third event, if it shall end."""
        self.recorded += 1
        if Count.model_validate_json(lines[-1]).number < 2:
            return False
        if row.status == "pausing":
            raise InterruptRequested
        if self.do == "end":
            lifecycle.succeed(session, row, stop_reason="epochs_done", metrics={"test": {"accuracy": 1.0}})
        return self.do == "end"

    def confirm(self, lines: list[bytes]) -> None:
        """Keep nothing: the events are no job's."""


def supervise(
    database: Database, settings: Settings, attempt: JobAttempt, stopping: threading.Event | None = None
) -> Job:
    """Run the attempt to its end; gives the job's row afterwards."""
    Supervisor(database, settings, attempt.claim, attempt, stopping or threading.Event()).run()
    return read_job(database, attempt.claim.id)
