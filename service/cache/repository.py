"""Every query about feature caches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, select, update

from service.tables import Cache, now

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session


def find_all(session: Session) -> list[Cache]:
    """Find all caches, by host and folder."""
    return list(session.scalars(select(Cache).order_by(Cache.host, Cache.folder, Cache.id)))


def is_emptying(session: Session, cache_id: str) -> bool:
    """Tell whether a request to empty the cache is pending."""
    return bool(session.scalar(select(Cache.is_emptying).where(Cache.id == cache_id)))


def request_emptying(session: Session) -> None:
    """Request that the workers empty all caches."""
    session.execute(update(Cache).values(is_emptying=True))


def report(session: Session, cache_id: str, *, host: str, folder: str, size: int, budget: int) -> None:
    """Record the size and the budget of a cache, in bytes."""
    cache = session.get(Cache, cache_id)
    if cache is None:
        cache = Cache(id=cache_id)
        session.add(cache)
    cache.host, cache.folder, cache.bytes, cache.budget_bytes = host, folder, size, budget
    cache.reported_at = session.scalars(select(now())).one()


def mark_emptied(session: Session, cache_id: str) -> None:
    """Record that a worker has emptied the cache."""
    session.execute(update(Cache).where(Cache.id == cache_id).values(is_emptying=False))


def add_savings(session: Session, cache_id: str, job: Mapping[str, float]) -> None:
    """Add the hits, misses and saved_seconds of a job to its cache's."""
    more = {name: getattr(Cache, name) + job[name] for name in ("hits", "misses", "saved_seconds")}
    session.execute(update(Cache).where(Cache.id == cache_id).values(more))


def delete_unreported(session: Session, seconds: float) -> None:
    """Delete the rows of caches that no worker has reported for `seconds`."""
    session.execute(delete(Cache).where(Cache.reported_at < now() - seconds))
