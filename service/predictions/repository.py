"""Every query about predictors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, select, update

from service.tables import Predictor, new_id, now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

HEARTBEAT_SECONDS = 2.0
"""Interval of a predictor's heartbeats."""
DEAD_SECONDS = 10.0
"""A predictor without a heartbeat for this long counts as dead."""
FORGET_SECONDS = 60.0
"""Rows of dead predictors are kept for this long: one that died without a word is probably being started again."""


def register(session: Session, address: str, secret: str) -> str:
    """Add a predictor that has started to listen; returns its id. Predictors that are long dead are forgotten."""
    session.execute(delete(Predictor).where(Predictor.heartbeat_at < now() - FORGET_SECONDS))
    predictor = Predictor(id=new_id("predictor"), address=address, secret=secret)
    session.add(predictor)
    return predictor.id


def renew(session: Session, predictor_id: str) -> bool:
    """Record that a predictor lives; False if it is not known any more."""
    renewal = update(Predictor).where(Predictor.id == predictor_id).values(heartbeat_at=now()).returning(Predictor.id)
    return session.execute(renewal).one_or_none() is not None


def remove(session: Session, predictor_id: str) -> None:
    """Forget a predictor that ends."""
    session.execute(delete(Predictor).where(Predictor.id == predictor_id))


def find_alive(session: Session) -> Sequence[Predictor]:
    """Find the predictors that live."""
    alive = select(Predictor).where(Predictor.heartbeat_at >= now() - DEAD_SECONDS)
    return session.scalars(alive.order_by(Predictor.id)).all()


def had_lately(session: Session) -> bool:
    """Tell whether a predictor lives, or has died within the last FORGET_SECONDS without having ended by itself."""
    lately = exists().where(Predictor.heartbeat_at >= now() - FORGET_SECONDS)
    return bool(session.scalar(select(lately)))
