"""One attempt at one claimed piece of work: a child does it, we keep its lease and write down what it says."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from sqlalchemy.exc import OperationalError

from service.jobs.lifecycle import UNWANTED
from service.tables import Backbone, Dataset, Job
from workers.child import Child, ChildDied
from workers.leases import Claim, Lease, LeaseLost, fence

if TYPE_CHECKING:
    import threading

    from pydantic import BaseModel
    from sqlalchemy.orm import Session

    from service.database import Database
    from service.settings import Settings

log = logging.getLogger(__name__)

Row = TypeVar("Row", Job, Dataset, Backbone)
Row_contra = TypeVar("Row_contra", Job, Dataset, Backbone, contravariant=True)
Result = TypeVar("Result")

Write = Callable[["Session", Row], Result]
"""Writes to a fenced row, in a transaction of its caller."""

RETRY_SECONDS = 1.0
"""Between two tries to write to a database that does not answer."""


class Attempt(Protocol[Row_contra]):
    """What differs between kinds of work. The rows that it gets are fenced."""

    module: str
    """Whose `work(order)` the child runs."""

    def begin(self, session: Session, row: Row_contra) -> BaseModel:
        """The attempt begins; gives the order that the child gets."""

    def prepare(self, lines: list[bytes]) -> None:
        """Do what events ask for that takes long, outside any transaction."""

    def record(self, session: Session, row: Row_contra, lines: list[bytes]) -> bool:
        """Write down events; says whether the work has ended with them."""

    def crashed(self, session: Session, row: Row_contra, cause: str, message: str) -> None:
        """The attempt died before its work was done; another shall begin again."""

    def failed(self, session: Session, row: Row_contra, cause: str, message: str) -> None:
        """The last attempt died: the work is given up."""

    def left_off(self, session: Session, row: Row_contra) -> None:
        """The work was cancelled or paused, and the child is gone."""

    def hand_back(self, session: Session, row: Row_contra) -> None:
        """This worker stops; another shall begin again."""

    def clean_up(self) -> None:
        """Remove what the attempt left on this machine."""


class Unwanted(Exception):
    """The work was cancelled or paused."""


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
        self.database, self.stopping = database, stopping
        self.claim: Claim[Row] = claim
        self.attempt: Attempt[Row] = attempt
        self.most_crashes = settings.max_crashes
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
        finally:
            self.attempt.clean_up()

    def _end(self) -> Write[Row, None] | None:
        """Run the child; gives what remains to be written when it is gone."""
        if self.claim.crashes >= self.most_crashes:
            return partial(self._give_up, cause="worker_died", message="The worker that ran it died or went silent.")
        try:
            return self._follow(self._write(partial(self._wanted, self.attempt.begin)))
        except Unwanted:
            return self.attempt.left_off
        except LeaseLost:
            raise
        except ChildDied as death:
            return partial(self._crashed, cause=death.cause, message=str(death))
        except Exception:
            log.exception("%s, attempt %d: an error of Graft's own", self.claim.id, self.claim.attempt)
            message = "Its supervisor met an error of Graft's own, which the worker's log shows."
            return partial(self._crashed, cause="internal_error", message=message)

    def _follow(self, order: BaseModel) -> Write[Row, None] | None:
        with Child(self.attempt.module, order) as child:
            for lines in child.batches():
                if self.lease.state == "lost":
                    raise LeaseLost(self.claim.id)
                if self.lease.state == "unwanted":
                    raise Unwanted
                if self.lease.state == "stopping":
                    child.stop()
                if self.stopping.is_set():
                    return self.attempt.hand_back
                if lines and self._record(lines):
                    return None
        raise AssertionError("a child that ends well says how its work ended")

    def _record(self, lines: list[bytes]) -> bool:
        self._steadily(partial(self.attempt.prepare, lines))
        return self._write(partial(self._wanted, partial(self.attempt.record, lines=lines)))

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
                if self.lease.state == "lost":
                    raise LeaseLost(self.claim.id) from error
                log.warning("the database does not answer, trying again: %s", error)
                time.sleep(RETRY_SECONDS)

    def _wanted(self, write: Write[Row, Result], session: Session, row: Row) -> Result:
        """Write as long as the work is wanted."""
        if row.status in UNWANTED:
            raise Unwanted
        return write(session, row)

    def _unless_unwanted(self, end: Write[Row, None], session: Session, row: Row) -> None:
        if row.status in UNWANTED:
            self.attempt.left_off(session, row)
        else:
            end(session, row)

    def _crashed(self, session: Session, row: Row, cause: str, message: str) -> None:
        row.crashes += 1
        if row.crashes >= self.most_crashes:
            self._give_up(session, row, cause, message)
        else:
            self.attempt.crashed(session, row, cause, message)

    def _give_up(self, session: Session, row: Row, cause: str, message: str) -> None:
        self.attempt.failed(session, row, cause, f"{message} It was tried {row.crashes} times.")
