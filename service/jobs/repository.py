"""Every query about jobs, their events, epochs, trials, candidates and crashes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import Text, cast, delete, func, select
from sqlalchemy.orm import defer
from sqlalchemy.orm.attributes import set_committed_value

from service import event_log
from service.jobs.errors import JobNotFound
from service.statuses import JobStatus
from service.tables import Candidate, Checkpoint, Crash, Epoch, Event, Job, JobBackbone, Trial

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.orm import Session

    from models.catalog.recipe import Recipe

MEASURED_JOBS = 20
"""Newest jobs among which a measured speed is looked for."""
_CONFUSION = re.compile(r'"confusion_matrix":\s*\[\[')


def get(session: Session, job_id: str, *, lock: bool = False) -> Job:
    """Get a job, with `lock` locked until the transaction ends; raises JobNotFound."""
    job = session.get(Job, job_id, with_for_update=lock or None)
    if job is None:
        raise JobNotFound(f"There is no job {job_id}.")
    return job


def find_page(
    session: Session,
    *,
    limit: int,
    after: str | None = None,
    status: str | None = None,
    dataset: str | None = None,
    backbone: str | None = None,
    details: Mapping[str, str] | None = None,
) -> list[Job]:
    """Find the newest `limit` + 1 jobs before `after` that match every filter, without their confusion matrices.

    With hundreds of classes a matrix is larger than all the rest, and no list shows it.
    """
    query = select(Job.id).order_by(Job.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(Job.id < after)
    if status is not None:
        query = query.where(Job.status == status)
    if dataset is not None:
        query = query.where(Job.dataset_id == dataset)
    if backbone is not None:
        query = query.where(Job.names([backbone]))
    for key, value in (details or {}).items():
        query = query.where(Job.details[key].as_string() == value)
    wanted = session.scalars(query).all()  # alone, as sorting would move the metrics of all jobs that match
    rows = select(Job, cast(Job.metrics, Text)).options(defer(Job.metrics)).where(Job.id.in_(wanted))
    found = []
    for job, metrics in session.execute(rows.order_by(Job.id.desc())):
        set_committed_value(job, "metrics", metrics and _parse_without_confusion(metrics))
        found.append(job)
    return found


def _parse_without_confusion(metrics: str) -> dict[str, Any] | None:
    """Parse the metrics of a job, but skip the numbers of confusion matrices: strings cannot hold a bare quote."""
    kept, start = [], 0
    while (found := _CONFUSION.search(metrics, start)) is not None:
        kept.append(metrics[start : found.start()])
        start = metrics.index("]]", found.end()) + 2
    parsed: dict[str, Any] | None = json.loads('"confusion_matrix":null'.join([*kept, metrics[start:]]))
    for figures in (parsed or {}).values():
        if isinstance(figures, dict):  # not all are of a split
            figures.pop("confusion_matrix", None)
    return parsed


def find_backbones(session: Session, jobs: Sequence[Job]) -> dict[str, list[str]]:
    """Find the backbones that each job names, in the order in which it names them."""
    several: dict[str, list[str]] = {}
    query = select(JobBackbone).where(JobBackbone.job_id.in_([job.id for job in jobs]))
    for row in session.scalars(query.order_by(JobBackbone.job_id, JobBackbone.position)):
        several.setdefault(row.job_id, []).append(row.backbone)
    return {job.id: several.get(job.id, [job.backbone]) for job in jobs}


def find_backbone_commits(session: Session, job: Job) -> dict[str, str]:
    """Find the commits from which earlier attempts loaded the job's backbones, by name; those of the Hub have one."""
    query = select(Event.data).where(Event.job_id == job.id, Event.kind == "prepared").order_by(Event.seq)
    found = {data.get("backbone", job.backbone): data.get("backbone_revision") for data in session.scalars(query)}
    return {name: commit for name, commit in found.items() if commit is not None}


def find_seconds_per_image(session: Session, backbone: str, recipe: Recipe) -> float | None:
    """Find how long a worker takes for one image of the frozen part of a backbone, cut as in a recipe.

    The newest job that tells counts: by what its hits in the cache had taken, or by what it measured before it computed
    anything. None if none of the last MEASURED_JOBS does.
    """
    query = (
        select(Job.recipe, Job.cache, Event.data)
        .join(Event, (Event.job_id == Job.id) & (Event.kind == "prepared"))
        .where(Job.backbone == backbone)
        .order_by(Job.id.desc())
        .limit(MEASURED_JOBS)
    )
    alike = recipe.model_dump(mode="json", include={"cut", "drop_stages", "image_size", "pooling"})
    for resolved, cache, data in session.execute(query):
        is_of_another = data.get("backbone", backbone) != backbone
        if is_of_another or any(resolved.get(name) != value for name, value in alike.items()):
            continue
        if cache and cache["hits"]:
            return float(cache["saved_seconds"] / cache["hits"])
        if data.get("seconds_per_image") is not None:
            return float(data["seconds_per_image"])
    return None


def find_queue_positions(session: Session, jobs: Sequence[Job]) -> dict[str, int]:
    """Find the position in the queue of each queued one of `jobs`: 1 is next."""
    queued = [job.id for job in jobs if job.status == JobStatus.QUEUED]
    if not queued:
        return {}
    number = func.row_number().over(order_by=Job.claim_order()).label("position")
    queue = select(Job.id, number).where(Job.status == JobStatus.QUEUED).subquery()
    rows = session.execute(select(queue.c.id, queue.c.position).where(queue.c.id.in_(queued)))
    return dict(iter(rows))


def find_checkpoint_ids(session: Session, jobs: Sequence[Job]) -> dict[str, list[str]]:
    """Find the ids of each job's checkpoints, the best first."""
    query = (
        select(Checkpoint.job_id, Checkpoint.id)
        .where(Checkpoint.job_id.in_([job.id for job in jobs]))
        .order_by(*Checkpoint.order_best_first())
    )
    found: dict[str, list[str]] = {job.id: [] for job in jobs}
    for job_id, checkpoint_id in session.execute(query):
        found[job_id].append(checkpoint_id)
    return found


def add_event(session: Session, job: Job, level: str, kind: str, message: str, data: dict[str, Any]) -> None:
    """Append an event; the job's row must be locked, so that events are numbered without gaps, in order of commits."""
    event_log.add(session, job, Event, level, kind, message, data)


def find_messages(session: Session, job_id: str, limit: int) -> list[Event]:
    """Find the newest `limit` events of a job, the newest first, without those of epochs, which are its curves."""
    query = select(Event).where(Event.job_id == job_id, Event.kind != "epoch").order_by(Event.seq.desc()).limit(limit)
    return list(session.scalars(query))


def find_events(session: Session, job_id: str, after: int, limit: int) -> list[Event]:
    """Find at most `limit` events of the job with numbers above `after`, in order."""
    return event_log.find(session, Event, job_id, after, limit)


def add_crash(session: Session, job: Job, attempt: int, cause: str) -> None:
    """Record that an attempt has died; a repeated call changes nothing; the job's row must be locked."""
    session.merge(Crash(job_id=job.id, attempt=attempt, cause=cause))


def find_crashes(session: Session, job_id: str, *, limit: int) -> list[Crash]:
    """Find the last attempts that have died, the newest first."""
    query = select(Crash).where(Crash.job_id == job_id).order_by(Crash.attempt.desc()).limit(limit)
    return list(session.scalars(query))


def replace_trials(session: Session, job_id: str, trials: Sequence[Mapping[str, Any]]) -> None:
    """Replace the trials of the job's search, the best first."""
    session.execute(delete(Trial).where(Trial.job_id == job_id))
    session.add_all(Trial(job_id=job_id, rank=rank, **trial) for rank, trial in enumerate(trials))


def find_trials(session: Session, job_id: str, *, after: int, limit: int) -> list[Trial]:
    """Find at most `limit` trials of the job's search ranked below `after`, the best first."""
    query = select(Trial).where(Trial.job_id == job_id, Trial.rank > after).order_by(Trial.rank).limit(limit)
    return list(session.scalars(query))


def put_candidate(session: Session, job_id: str, candidate: Mapping[str, Any]) -> None:
    """Record a candidate of the job's ladder; one that an earlier attempt recorded under its number is replaced."""
    session.merge(Candidate(job_id=job_id, **candidate))


def find_candidates(session: Session, job_id: str) -> list[Candidate]:
    """Find the candidates of the job's ladder, in the order in which they were tried."""
    query = select(Candidate).where(Candidate.job_id == job_id).order_by(Candidate.number)
    return list(session.scalars(query))


def find_epochs(session: Session, job_id: str, *, after: int, limit: int) -> list[Epoch]:
    """Find at most `limit` epochs of the job above `after`, in order."""
    query = select(Epoch).where(Epoch.job_id == job_id, Epoch.epoch > after).order_by(Epoch.epoch).limit(limit)
    return list(session.scalars(query))
