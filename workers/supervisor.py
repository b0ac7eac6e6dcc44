"""One attempt at one claimed piece of work: a child does it, we keep its lease and write down what it says."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from service import disk_full
from service.checkpoints.errors import ContentsCollected
from service.jobs.lifecycle import INTERRUPTING
from service.tables import Backbone, Dataset, Job
from workers.child_process import Child, ChildDied
from workers.lease import Claim, Lease, LeaseLost, fence
from workers.work.base import Interrupted

if TYPE_CHECKING:
    import threading

    from pydantic import BaseModel
    from sqlalchemy.orm import Session

    from service.database import Database
    from service.settings import Settings
    from workers.work.base import Attempt

log = logging.getLogger(__name__)

Row = TypeVar("Row", Job, Dataset, Backbone)
Result = TypeVar("Result")

Write = Callable[["Session", Row], Result]
"""Writes to a fenced row, in a transaction of its caller."""

RETRY_SECONDS = 1.0
"""Between two tries to write to a database that does not answer."""
LEAVE_SECONDS = 1.0
"""How long a child that shall leave off has to secure what it has done."""
POSTPONED_SECONDS = 30.0
"""Until work is tried again for which there was no room on a disk."""


class Supervision(Generic[Row]):
    """Runs one attempt to its end. It writes nothing once the lease is lost, and only the end once it is unwanted."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        claim: Claim[Row],
        attempt: Attempt[Row],
        stopping: threading.Event,
    ) -> None:
        self.database, self.settings, self.stopping = database, settings, stopping
        self.claim: Claim[Row] = claim
        self.attempt: Attempt[Row] = attempt
        self.lease: Lease[Row] = Lease(database, claim, settings.lease_seconds)

    def run(self) -> None:
        """Do it, and write down how it ended."""
        try:
            with self.lease:
                end = self._end()
                if end is not None:
                    self._write(partial(self._unless_unwanted, end))
        except LeaseLost:
            log.warning("%s, attempt %d: the lease is lost, its child was ended", self.claim.id, self.claim.attempt)
            if self.lease.state == "cut_off":
                self._hand_back_late()
        finally:
            self.attempt.clean_up()

    def _end(self) -> Write[Row, None] | None:
        """Run the child; gives what remains to be written when it is gone."""
        if self.claim.crashes >= self.settings.max_crashes:
            return partial(self._give_up, cause="worker_died", message="The worker that ran it died or went silent.")
        try:
            self._steadily(self.attempt.equip)
            return self._follow(self._write(self._begin))
        except Interrupted:
            return self.attempt.interrupted
        except LeaseLost:
            raise
        except ChildDied as death:
            return self._died(death)
        except Exception as error:
            if disk_full.is_disk_full(error):
                return self._died(ChildDied("disk_full", str(error)))
            log.exception("%s, attempt %d: an error of Graft's own", self.claim.id, self.claim.attempt)
            message = "Its supervisor met an error of Graft's own, which the worker's log shows."
            return partial(self._crashed, cause="internal_error", message=message)

    def _died(self, death: ChildDied) -> Write[Row, None]:
        if death.cause == "disk_full":
            message = f"{death} Free some space; it is tried again every {POSTPONED_SECONDS:.0f} seconds."
            return partial(self.attempt.postponed, cause=death.cause, message=message, seconds=POSTPONED_SECONDS)
        return partial(self._crashed, cause=death.cause, message=str(death))

    def _follow(self, order: BaseModel) -> Write[Row, None] | None:
        with Child(self.attempt.module, order, self.settings.stall_seconds) as child:
            for lines in child.batches():
                match self.lease.state:
                    case "lost" | "cut_off":
                        raise LeaseLost(self.claim.id)
                    case "cancelling":
                        raise Interrupted
                    case "stopping":
                        child.stop()
                if lines and self._record(lines):
                    return None
                if self.lease.state == "pausing" or self.stopping.is_set():
                    # Whoever wants it paused, `_unless_unwanted` finds out.
                    return None if self._ends_while_leaving(child) else self.attempt.hand_back
        raise AssertionError("a child that ends well says how its work ended")

    def _ends_while_leaving(self, child: Child) -> bool:
        """Give the child a moment to secure what it has done; says whether the work has come to its end."""
        if self.attempt.can_secure:
            child.leave()
            until = time.monotonic() + LEAVE_SECONDS
            for lines in child.batches():
                if lines and self._record(lines):
                    return True
                if time.monotonic() > until:
                    break
        return False

    def _record(self, lines: list[bytes]) -> bool:
        """Prepare events and write them down, once more where what was prepared was collected in between."""
        while True:
            try:
                self._steadily(partial(self.attempt.prepare, lines))
                return self._write(partial(self._unless_cancelled, partial(self.attempt.record, lines=lines)))
            except ContentsCollected as error:
                log.info("%s, attempt %d: %s", self.claim.id, self.claim.attempt, error)

    def _write(self, write: Write[Row, Result]) -> Result:
        """Write in one fenced transaction; raises LeaseLost."""

        def fenced() -> Result:
            with self.database.writing() as session:
                return write(session, fence(session, self.claim))

        return self._steadily(fenced)

    def _steadily(self, act: Callable[[], Result]) -> Result:
        """Do it, again while the database does not answer and the lease holds; raises LeaseLost."""
        while True:
            try:
                return act()
            except OperationalError as error:
                if self.lease.state in ("lost", "cut_off"):
                    raise LeaseLost(self.claim.id) from error
                log.warning("the database does not answer, trying again: %s", error)
                time.sleep(RETRY_SECONDS)

    def _hand_back_late(self) -> None:
        """Hand back what was given up while the database was away, once it answers: that is no crash."""
        while not self.stopping.wait(RETRY_SECONDS):
            try:
                with self.database.writing() as session:
                    self._unless_unwanted(self.attempt.hand_back, session, fence(session, self.claim))
            except LeaseLost:
                return
            except SQLAlchemyError as error:
                log.warning("the database does not answer, trying again: %s", error)
            else:
                return

    def _begin(self, session: Session, row: Row) -> BaseModel:
        if row.status in INTERRUPTING:
            raise Interrupted
        return self.attempt.begin(session, row)

    def _unless_cancelled(self, write: Write[Row, bool], session: Session, row: Row) -> bool:
        """Write what was done even if the work shall be paused."""
        if row.status == "cancelling":
            raise Interrupted
        return write(session, row)

    def _unless_unwanted(self, end: Write[Row, None], session: Session, row: Row) -> None:
        if row.status in INTERRUPTING:
            self.attempt.interrupted(session, row)
        else:
            end(session, row)

    def _crashed(self, session: Session, row: Row, cause: str, message: str) -> None:
        row.crashes += 1
        if row.crashes >= self.settings.max_crashes:
            self._give_up(session, row, cause, message)
        else:
            self.attempt.crashed(session, row, cause, message)

    def _give_up(self, session: Session, row: Row, cause: str, message: str) -> None:
        self.attempt.failed(session, row, cause, f"{message} It was tried {row.crashes} times.")
