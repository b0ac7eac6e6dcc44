"""Leases: claim a row for a limited time, renew it, and fence its writes.

A claim is one conditional UPDATE: it sets a lease by the database's clock and raises the attempt number. That number
is the fencing token: `fence` locks the row for every later write, and refuses an old number. So of two workers
that both believe they hold a row (one was suspended for a while, say) only the newer can write.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from sqlalchemy import case, exists, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from service.tables import Backbone, BatchPrediction, Dataset, Export, Job, Recommendation, now

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

    from service.database import Database

log = logging.getLogger(__name__)

Row = TypeVar("Row", Job, Dataset, Backbone, Export, BatchPrediction, Recommendation)
"""A table that workers claim from."""

WATCH_SECONDS = 0.5
"""Interval at which the row is checked for a cancel, pause or stop."""
RENEWALS_PER_LEASE = 4
SAFE_SHARE = 0.66
"""The share of a lease after which a holder that cannot reach the database gives up."""

State = Literal["held", "stopping", "pausing", "cancelling", "lost", "cut_off"]
"""held; a requested end; lost to another worker; or cut off from the database for too long."""

_STATES: dict[str, State] = {"stopping": "stopping", "pausing": "pausing", "cancelling": "cancelling"}


class LeaseLost(Exception):
    """Another worker holds the row, or it is deleted: stop, and write nothing."""


@dataclass(frozen=True)
class Claim(Generic[Row]):
    """The right of one worker to work on one row; `attempt` is the fencing token."""

    table: type[Row]
    id: str
    attempt: int
    crashes: int
    """Attempts that have crashed so far."""
    asked_at: float = field(compare=False)
    """When the claim was sent, by `read_boottime`: the lease began later."""


def claim(
    session: Session, table: type[Row], waiting: str, running: str, worker: str, seconds: float
) -> Claim[Row] | None:
    """Claim the first row that waits, or whose lease has expired, of those that this worker can work on."""
    first = (
        select(table.id)
        .where(_is_claimable(table, waiting, running, worker))
        .order_by(*table.claim_order())
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    claiming = (
        update(table)
        .where(table.id == first)
        .values(
            status=running,
            attempt=table.attempt + 1,
            crashes=table.crashes + case((table.lease_until.is_(None), 0), else_=1),
            silent_worker=table.worker,
            waits_until=None,
            batches=0,
            worker=worker,
            lease_until=now() + seconds,
        )
        .returning(table.id, table.attempt, table.crashes)
        .execution_options(synchronize_session=False)
    )
    asked_at = read_boottime()
    claimed = session.execute(claiming).one_or_none()
    return None if claimed is None else Claim(table, *claimed, asked_at=asked_at)


def has_claimable(table: type[Row], waiting: str, running: str, worker: str) -> ColumnElement[bool]:
    """Build an SQL condition: this worker can claim some row. Takes no lock."""
    return exists(select(table.id).where(_is_claimable(table, waiting, running, worker)))


def _is_claimable(table: type[Row], waiting: str, running: str, worker: str) -> ColumnElement[bool]:
    is_due = or_(table.waits_until.is_(None), table.waits_until < now())
    is_held = table.lease_until.is_not(None) & (table.lease_until >= now())
    return table.status.in_({waiting, running}) & is_due & ~is_held & table.claimable_by(worker)


def fence(session: Session, claim: Claim[Row]) -> Row:
    """Lock the claimed row until the transaction ends; raises LeaseLost if another worker has claimed it since."""
    query = select(claim.table).where(
        claim.table.id == claim.id, claim.table.attempt == claim.attempt, claim.table.lease_until.is_not(None)
    )
    row = session.scalar(query.with_for_update())
    if row is None:
        raise LeaseLost(f"{claim.id}, attempt {claim.attempt}")
    return row


class Lease(Generic[Row]):
    """Renews a claim from a thread of its own, and watches whether the row is cancelled, paused or stopped.

    The time that is left counts from when a renewal was sent: the database sets its lease later than that, while an
    answer may come late, or never.
    """

    def __init__(self, database: Database, claim: Claim[Row], seconds: float) -> None:
        self.claim: Claim[Row] = claim
        self.database, self.seconds = database, seconds
        self._state: State = "held"
        self._renewed = claim.asked_at
        """When the last renewal that was answered had been sent."""
        self._asked: float | None = None
        """When the request that is not answered yet was sent."""
        self._is_cut_off = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease of {claim.id}", daemon=True)

    def __enter__(self) -> Lease[Row]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    @property
    def state(self) -> State:
        """State of the lease; once it is lost or cut off, it stays so."""
        asked = self._asked
        if asked is not None and read_boottime() - asked > self.seconds / RENEWALS_PER_LEASE:
            self._give_up_if_unsafe()
        return "cut_off" if self._is_cut_off else self._state

    def _keep(self) -> None:
        while not self._closed.wait(WATCH_SECONDS) and self.state not in ("lost", "cut_off"):
            try:
                self._update()
            except SQLAlchemyError as error:
                log.warning("the database does not answer, the lease of %s holds for now: %s", self.claim.id, error)
                self._give_up_if_unsafe()
            except Exception:  # without its thread, a lease would be lost in silence
                log.exception("internal error; the lease of %s holds for now", self.claim.id)
                self._give_up_if_unsafe()

    def _update(self) -> None:
        """Read the row's state, and renew the lease when that is due."""
        self._asked = asked = read_boottime()
        is_due = asked - self._renewed >= self.seconds / RENEWALS_PER_LEASE
        status = self._renew() if is_due else self._read_state()
        self._asked = None
        if is_due:
            self._renewed = asked
        self._state = "lost" if status is None else _STATES.get(status, "held")

    def _give_up_if_unsafe(self) -> None:
        if read_boottime() - self._renewed > SAFE_SHARE * self.seconds:
            self._is_cut_off = True

    def _read_state(self) -> str | None:
        table = self.claim.table
        query = select(table.requested_state()).where(table.id == self.claim.id, table.attempt == self.claim.attempt)
        with self.database.reading() as session:
            return session.scalar(query)

    def _renew(self) -> str | None:
        table = self.claim.table
        renewal = (
            update(table)
            .where(table.id == self.claim.id, table.attempt == self.claim.attempt, table.lease_until.is_not(None))
            .values(lease_until=now() + self.seconds)
            .returning(table.requested_state())
            .execution_options(synchronize_session=False)
        )
        with self.database.writing() as session:
            status: str | None = session.scalar(renewal)
        return status


def read_boottime() -> float:
    """Read a clock: monotonic seconds, including those in which the machine sleeps where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
