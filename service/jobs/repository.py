"""Every query about jobs, their events and their epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from service.jobs.errors import JobNotFound
from service.tables import Checkpoint, Epoch, Event, Job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.orm import Session


def get(session: Session, job_id: str, *, lock: bool = False) -> Job:
    """The job, locked until the transaction ends if so wished; raises JobNotFound."""
    job = session.get(Job, job_id, with_for_update=lock or None)
    if job is None:
        raise JobNotFound(f"There is no job {job_id}.")
    return job


def page(
    session: Session,
    *,
    limit: int,
    after: str | None = None,
    status: str | None = None,
    dataset: str | None = None,
    backbone: str | None = None,
    details: Mapping[str, str] | None = None,
) -> list[Job]:
    """The newest `limit` + 1 jobs before `after` that match all that is given."""
    query = select(Job).order_by(Job.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(Job.id < after)
    if status is not None:
        query = query.where(Job.status == status)
    if dataset is not None:
        query = query.where(Job.dataset_id == dataset)
    if backbone is not None:
        query = query.where(Job.backbone == backbone)
    for key, value in (details or {}).items():
        query = query.where(Job.details[key].as_string() == value)
    return list(session.scalars(query))


def queue_positions(session: Session, jobs: Sequence[Job]) -> dict[str, int]:
    """How many queued jobs stand before each queued one of `jobs`, itself counted: 1 is next."""
    queued = [job.id for job in jobs if job.status == "queued"]
    if not queued:
        return {}
    number = func.row_number().over(order_by=Job.claim_order()).label("place")
    place = select(Job.id, number).where(Job.status == "queued").subquery()
    rows = session.execute(select(place.c.id, place.c.place).where(place.c.id.in_(queued)))
    return dict(iter(rows))


def checkpoint_ids(session: Session, jobs: Sequence[Job]) -> dict[str, list[str]]:
    """The ids of each job's checkpoints, the best first."""
    query = (
        select(Checkpoint.job_id, Checkpoint.id)
        .where(Checkpoint.job_id.in_([job.id for job in jobs]))
        .order_by(Checkpoint.kind, Checkpoint.id)
    )
    found: dict[str, list[str]] = {job.id: [] for job in jobs}
    for job_id, checkpoint_id in session.execute(query):
        found[job_id].append(checkpoint_id)
    return found


def add_event(session: Session, job: Job, level: str, kind: str, message: str, data: dict[str, Any]) -> None:
    """Append an event; the job's row must be locked, which numbers events without gaps in the order of commits."""
    job.event_seq += 1
    session.add(Event(job_id=job.id, seq=job.event_seq, level=level, kind=kind, message=message, data=data))


def events(session: Session, job_id: str, *, after: int, limit: int) -> list[Event]:
    """At most `limit` events of the job with numbers above `after`, in order."""
    query = select(Event).where(Event.job_id == job_id, Event.seq > after).order_by(Event.seq).limit(limit)
    return list(session.scalars(query))


def crashes(session: Session, job_id: str, *, limit: int) -> list[tuple[int, str]]:
    """The last attempts that have died, the newest first, and of what."""
    died = select(Event.data).where(Event.job_id == job_id, Event.kind == "crashed")
    data = session.scalars(died.order_by(Event.seq.desc()).limit(limit))
    return [(one["attempt"], one["cause"]) for one in data]


def trials(session: Session, job_id: str) -> list[dict[str, Any]]:
    """The trials of the job's search, the best first; none where it searches nothing, or has not done so yet."""
    searched = select(Event.data).where(Event.job_id == job_id, Event.kind == "searched").order_by(Event.seq.desc())
    data = session.scalars(searched.limit(1)).one_or_none()
    return [] if data is None else data["trials"]


def epochs(session: Session, job_id: str, *, after: int, limit: int) -> list[Epoch]:
    """At most `limit` epochs of the job above `after`, in order."""
    query = select(Epoch).where(Epoch.job_id == job_id, Epoch.epoch > after).order_by(Epoch.epoch).limit(limit)
    return list(session.scalars(query))
