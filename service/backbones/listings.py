"""Every query about workers that live, and the backbones that each of them can load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, exists, func, insert, select, update

from service.backbones.tables import LOADED_ANYWHERE, UNLISTED_SOURCES
from service.database import lock_name
from service.statuses import BackboneStatus, JobStatus
from service.tables import Backbone, Job, Listing, Worker, now

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session

FORGET_SECONDS = 600.0
"""Time after the death of a worker for which its backbones stay in the list: it may be starting again."""


def renew(session: Session, worker: str, seconds: float) -> bool:
    """Record that the worker lives for another `seconds`; False if it is not known, or no longer."""
    renewal = update(Worker).where(Worker.id == worker).values(alive_until=now() + seconds).returning(Worker.id)
    return session.execute(renewal).one_or_none() is not None


def replace(session: Session, worker: str, seconds: float, listings: Sequence[dict[str, Any]]) -> None:
    """Record that the worker lives, and the backbones that it lists, as columns of their rows.

    Backbones that have not changed keep their inspection. Those that no worker lists any more are removed.
    """
    lock_name(session, "listing of backbones")
    forget(session, worker)
    session.execute(insert(Worker).values(id=worker, alive_until=now() + seconds))
    listed = {listing["id"]: listing for listing in listings}
    if listed:
        session.execute(insert(Listing), [{"worker_id": worker, "backbone": name} for name in listed])
    known = {row.id: row for row in session.scalars(select(Backbone).where(_is_listed_by_workers()))}
    new = [{**listing, "status": BackboneStatus.LISTED} for name, listing in listed.items() if name not in known]
    if new:
        session.execute(insert(Backbone), new)
    for name in listed.keys() & known.keys():
        _update(known[name], listed[name])
    session.flush()
    _delete_unlisted(session)


def forget(session: Session, worker: str) -> None:
    """Forget a worker that ends; its backbones stay listed until another worker, or maintenance, looks."""
    session.execute(delete(Worker).where(Worker.id == worker))


def forget_dead(session: Session) -> None:
    """Forget workers that have been dead for FORGET_SECONDS, and with them backbones that only they have listed."""
    lock_name(session, "listing of backbones")
    session.execute(delete(Worker).where(Worker.alive_until < now() - FORGET_SECONDS))
    # With no worker left nothing can be known: they may all be replaced at this moment.
    if session.scalar(select(_is_any_alive())):
        _delete_unlisted(session)


def find_workers(session: Session, limit: int, after: str | None = None) -> list[tuple[Worker, int, str | None]]:
    """Find `limit` + 1 workers after `after`, by id: each with its number of backbones, and the job that it holds."""
    listed = select(func.count()).where(Listing.worker_id == Worker.id).scalar_subquery()
    held = select(func.min(Job.id)).where(Job.worker == Worker.id).scalar_subquery()
    query = select(Worker, listed, held).order_by(Worker.id).limit(limit + 1)
    if after is not None:
        query = query.where(Worker.id > after)
    return [(worker, backbones, job) for worker, backbones, job in session.execute(query)]


def read_clock(session: Session) -> float:
    """Read the database's clock, by which workers live."""
    return float(session.scalar(select(now())) or 0.0)


def find_lacking(session: Session, jobs: Sequence[Job], named: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Find what each queued one of `jobs` lacks beside its turn: a worker that lives, and can load its backbones.

    named: each job's backbones, by its id.
    """
    queued = [job for job in jobs if job.status == JobStatus.QUEUED]
    if not queued:
        return {}
    if not session.scalar(select(_is_any_alive())):
        return {job.id: "a worker: none is running" for job in queued}
    needed = {job.id: [name for name in named[job.id] if not name.startswith(LOADED_ANYWHERE)] for job in queued}
    alive = select(Listing).join(Worker, Worker.id == Listing.worker_id).where(Worker.alive_until >= now())
    listed: dict[str, set[str]] = {}
    for found in session.scalars(alive.where(Listing.backbone.in_(set().union(*needed.values())))):
        listed.setdefault(found.worker_id, set()).add(found.backbone)
    return {
        job_id: f"a worker that has {' and '.join(names)}: none that is running has {'them all' if names[1:] else 'it'}"
        for job_id, names in needed.items()
        if names and not any(had.issuperset(names) for had in listed.values())
    }


def _is_any_alive() -> Any:
    return exists().where(Worker.alive_until >= now())


def _is_listed_by_workers() -> ColumnElement[bool]:
    return Backbone.source.not_in(UNLISTED_SOURCES)


def _delete_unlisted(session: Session) -> None:
    is_listed = exists().where(Listing.backbone == Backbone.id)
    unlisted = delete(Backbone).where(_is_listed_by_workers(), ~is_listed)
    session.execute(unlisted.execution_options(synchronize_session=False))


def _update(row: Backbone, listing: dict[str, Any]) -> None:
    same = all(getattr(row, column) == value for column, value in listing.items())
    for column, value in listing.items():
        setattr(row, column, value)
    if row.status in {BackboneStatus.INSPECTED, BackboneStatus.FAILED} and not same:
        row.status, row.crashes, row.inspection, row.error = BackboneStatus.LISTED, 0, None, None
