"""Supervision of an attempt: run its child, keep its lease, and write its events and its outcome to the fenced row."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from service import disk_full
from service.checkpoints.errors import ContentsCollected
from service.jobs.lifecycle import INTERRUPTING
from service.storage import StorageUnavailable
from workers import memory_limit
from workers.child_process import Child, ChildDied
from workers.lease import Claim, Lease, LeaseLost, Row, fence
from workers.outcome import Crashed, Drained, Ended, Interrupted, Outcome, Postponed, Unfinished
from workers.work.base import InterruptRequested

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from pydantic import BaseModel
    from sqlalchemy.orm import Session

    from service.database import Database
    from service.settings import Settings
    from workers.work.base import Attempt

log = logging.getLogger(__name__)

Result = TypeVar("Result")

RETRY_SECONDS = 1.0
"""Interval of tries to reach a database that does not answer."""
POSTPONED_SECONDS = 30.0
"""Interval of attempts at work for which a disk has no room, or whose files cannot be reached."""
REMEDIES = {
    "disk_full": "Free some space",
    "storage_unavailable": "Check GRAFT_STORAGE_URL, and that this machine reaches it",
}
"""Causes that postpone work, because they are no fault of it, and what to do."""


class Supervisor(Generic[Row]):
    """Runs one attempt to its end. Once the lease is lost it writes nothing more."""

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
        self._batches = 0
        """Batches of events that have been recorded."""

    def run(self) -> None:
        """Run the attempt and write its outcome."""
        is_over = False
        try:
            with self.lease:
                is_over = self._settle(self._run_attempt())
        except LeaseLost:
            log.warning("%s, attempt %d: lost its lease; its child was ended", self.claim.id, self.claim.attempt)
            if self.lease.state == "cut_off":
                self._requeue_late()
        finally:
            self.attempt.clean_up(is_over=is_over)

    def _run_attempt(self) -> Outcome:
        if self.claim.crashes >= self.settings.max_crashes:
            return Crashed("worker_died", "The worker running it died or stopped responding.", is_counted=True)
        try:
            self._retry(self.attempt.fetch_inputs)
            return self._run_child(self._write(self._start))
        except LeaseLost:
            raise
        except Exception as error:
            return self._explain(error)

    def _explain(self, error: Exception) -> Outcome:
        match error:
            case InterruptRequested():
                return Interrupted()
            case ChildDied(cause=cause) if cause in REMEDIES:
                return _postpone(cause, error)
            case ChildDied(cause=cause, is_own_fault=is_own_fault):
                return Crashed(cause, str(error), is_own_fault=is_own_fault)
            case StorageUnavailable():
                return _postpone("storage_unavailable", error)
            case _ if disk_full.is_disk_full(error):
                return _postpone("disk_full", error)
        log.error("%s, attempt %d: internal error", self.claim.id, self.claim.attempt, exc_info=error)
        return Crashed("internal_error", "The worker met an internal error; its log has the details.")

    def _run_child(self, order: BaseModel) -> Outcome:
        limit = memory_limit.choose_limit(self.settings)
        gpu = self.attempt.may_use_gpu
        with Child(self.attempt.module, order, self.settings.stall_seconds, limit, may_use_gpu=gpu) as child:
            for lines in child.read_batches():
                self._check_lease()
                if self.lease.state == "stopping":
                    child.stop()
                if lines and self._record(lines):
                    return Ended()
                if self.lease.state == "pausing" or self.stopping.is_set():
                    return self._drain(child)
        raise AssertionError("a child that exits well has ended its work before")

    def _check_lease(self) -> None:
        match self.lease.state:
            case "lost" | "cut_off":
                raise LeaseLost(self.claim.id)
            case "cancelling":
                raise InterruptRequested

    def _drain(self, child: Child) -> Ended | Drained:
        """Wait until the child has saved its progress and ended; it may also come to the end of the work."""
        if not self.attempt.can_save_progress:
            return Drained()
        child.drain()
        deadline = time.monotonic() + self.settings.drain_seconds
        for lines in child.read_batches():
            self._check_lease()
            if lines and self._record(lines):
                return Ended()
            if time.monotonic() > deadline:
                log.warning("%s saved no snapshot in time (GRAFT_DRAIN_SECONDS); its child was ended", self.claim.id)
                break
        return Drained()

    def _record(self, lines: list[bytes]) -> bool:
        """Record a batch of events; true if they end the work."""
        while True:
            try:
                self._retry(lambda: self.attempt.prepare(lines))
                ends_work = self._write(lambda session, row: self._record_unless_cancelled(session, row, lines))
            except ContentsCollected as error:  # between the two steps
                log.info("%s, attempt %d: %s; storing it again", self.claim.id, self.claim.attempt, error)
            else:
                self._batches += 1
                self.attempt.confirm(lines)
                return ends_work

    def _settle(self, outcome: Outcome) -> bool:
        """Write the outcome; true if the work is over."""
        if isinstance(outcome, Ended):
            return True  # written with the child's last event
        return self._write(lambda session, row: self._write_outcome(session, row, outcome))

    def _write(self, write: Callable[[Session, Row], Result]) -> Result:
        """Write to the row in one fenced transaction, tried again while the database is away; raises LeaseLost."""

        def write_fenced() -> Result:
            with self.database.writing() as session:
                return write(session, fence(session, self.claim))

        return self._retry(write_fenced)

    def _retry(self, act: Callable[[], Result]) -> Result:
        """Call until the database answers, as long as the lease holds; raises LeaseLost."""
        while True:
            try:
                return act()
            except OperationalError as error:
                if self.lease.state in ("lost", "cut_off"):
                    raise LeaseLost(self.claim.id) from error
                log.warning("the database does not answer, trying again: %s", error)
                time.sleep(RETRY_SECONDS)

    def _requeue_late(self) -> None:
        """Requeue the work as soon as the database answers again: to be cut off from it is no crash."""
        while not self.stopping.wait(RETRY_SECONDS):
            try:
                with self.database.writing() as session:
                    self._write_outcome(session, fence(session, self.claim), Drained())
            except LeaseLost:
                return
            except SQLAlchemyError as error:
                log.warning("the database does not answer, trying again: %s", error)
            else:
                return

    # These methods write to the fenced row.

    def _start(self, session: Session, row: Row) -> BaseModel:
        if row.status in INTERRUPTING:
            raise InterruptRequested
        return self.attempt.start(session, row)

    def _record_unless_cancelled(self, session: Session, row: Row, lines: list[bytes]) -> bool:
        """Record events, also of a job that is pausing: it resumes from there."""
        if row.batches > self._batches:
            # It was committed, and only the answer was lost; a batch that ends the work ends its lease too.
            return False
        if row.status == "cancelling":
            raise InterruptRequested
        row.batches += 1
        return self.attempt.record(session, row, lines)

    def _write_outcome(self, session: Session, row: Row, outcome: Unfinished) -> bool:
        """Write the outcome to the row; true if the work is over."""
        if row.status in INTERRUPTING:
            outcome = Interrupted()  # the lease may not have noticed yet
        match outcome:
            case Crashed(cause, message, is_counted, is_own_fault):
                row.crashes += not is_counted
                if is_own_fault and not self.attempt.retries_own_faults:
                    self.attempt.fail(session, row, cause, message)
                    return True
                if row.crashes >= self.settings.max_crashes:
                    self.attempt.fail(session, row, cause, f"{message} It was tried {row.crashes} times.")
                    return True
                self.attempt.crash(session, row, cause, message)
            case Postponed(cause, message, seconds):
                self.attempt.postpone(session, row, cause, message, seconds)
            case Drained():
                self.attempt.drain(session, row)
            case Interrupted():
                self.attempt.interrupt(session, row)
        return False


def _postpone(cause: str, error: Exception) -> Postponed:
    message = f"{error} {REMEDIES[cause]}; it is tried again every {POSTPONED_SECONDS:.0f} seconds."
    return Postponed(cause, message, POSTPONED_SECONDS)
