"""One attempt at one claimed piece of work: a child does it, we keep its lease and write down what it says."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from service.tables import Backbone, Dataset, Job
from workers.child import Child, ChildDied
from workers.leases import Claim, Lease, LeaseLost, fence

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from pydantic import BaseModel
    from sqlalchemy.orm import Session

    from service.database import Database

log = logging.getLogger(__name__)

Row = TypeVar("Row", Job, Dataset, Backbone)
Row_contra = TypeVar("Row_contra", Job, Dataset, Backbone, contravariant=True)


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

    def died(self, death: ChildDied, session: Session, row: Row_contra) -> None:
        """The child ended before its work did."""

    def cancelled(self, session: Session, row: Row_contra) -> None:
        """The work is no longer wanted, and the child is gone."""

    def hand_back(self, session: Session, row: Row_contra) -> None:
        """This worker stops; another shall begin again."""

    def clean_up(self) -> None:
        """Remove what the attempt left on this machine."""


def supervise(
    database: Database, claim: Claim[Row], attempt: Attempt[Row], seconds: float, stopping: threading.Event
) -> None:
    """Run the attempt to its end under a lease of so many seconds. Writes nothing once the lease is lost."""
    try:
        with Lease(database, claim, seconds) as lease:
            with database.writing() as session:
                order = attempt.begin(session, fence(session, claim))
            end = _follow(database, lease, attempt, order, stopping)
            if end is not None:
                with database.writing() as session:
                    end(session, fence(session, claim))
    except LeaseLost:
        log.warning("%s, attempt %d: the lease is lost, its child was ended", claim.id, claim.attempt)
    finally:
        attempt.clean_up()


def _follow(
    database: Database, lease: Lease[Row], attempt: Attempt[Row], order: BaseModel, stopping: threading.Event
) -> Callable[[Session, Row], None] | None:
    """What remains to be written when the child is gone."""
    with Child(attempt.module, order) as child:
        try:
            for lines in child.batches():
                if lease.state == "lost":
                    raise LeaseLost
                if lease.state == "cancelling":
                    return attempt.cancelled
                if stopping.is_set():
                    return attempt.hand_back
                if lines and _recorded(database, lease.claim, attempt, lines):
                    return None
        except ChildDied as death:
            return partial(attempt.died, death)
    raise AssertionError("a child that ends well says how its work ended")


def _recorded(database: Database, claim: Claim[Row], attempt: Attempt[Row], lines: list[bytes]) -> bool:
    attempt.prepare(lines)
    with database.writing() as session:
        return attempt.record(session, fence(session, claim), lines)
