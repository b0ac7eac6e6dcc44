"""Retention of checkpoints: delete all but the best, the newest and the young ones, by setting or by request."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import nlargest
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import func, select

from service.checkpoints import deletion
from service.jobs.lifecycle import TERMINAL
from service.storage import StorageUnavailable
from service.tables import Checkpoint, Job, now

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import ColumnElement, Select
    from sqlalchemy.orm import InstrumentedAttribute, Session

    from service.database import Database
    from service.storage import Storage

MOST_AT_ONCE = 1000
"""Checkpoints that one run deletes at most; the next one goes on."""
BATCH = 50
"""Checkpoints that one transaction deletes."""
LOOKED_UP = 500
"""Checkpoints whose uses are looked up at once."""
DAY_SECONDS = 86400.0


@dataclass(frozen=True)
class Rules:
    """Retention rules: a checkpoint that any of them keeps is not deleted. Without any rule, all are kept."""

    newest: int | None = None
    """Number of the newest checkpoints of each dataset."""
    best: int | None = None
    """Number of the most accurate ones of each dataset, and of each choice of test images."""
    days: float | None = None
    """Age in days up to which all are kept."""
    dataset: str | None = None
    """The only dataset whose checkpoints may be deleted; None: any."""
    job: str | None = None
    """The only job whose checkpoints may be deleted; None: any."""

    @property
    def is_empty(self) -> bool:
        """True where nothing may be deleted."""
        return self.newest is None and self.best is None and self.days is None


class Candidate(NamedTuple):
    """A checkpoint of a job that has ended, as far as an answer tells of it."""

    id: str
    job: str
    kind: str
    dataset: str
    created_at: float
    head_bytes: int


@dataclass
class Outcome:
    """Outcome of a run: the checkpoints that it has deleted, or would delete."""

    deleted: list[Candidate] = field(default_factory=list)
    protected: dict[str, str] = field(default_factory=dict)
    """Checkpoints that no rule keeps, and that are in use all the same: {id: how}."""
    has_more: bool = False
    """There are more than one run deletes."""


def enforce(database: Database, storage: Storage, rules: Rules, *, deleted_by: str | None = None) -> Outcome:
    """Delete checkpoints that no rule keeps and nothing uses, the oldest first.

    Several at once do no harm: each transaction locks its rows, and looks again whether something uses them.
    """
    planned = plan(database, rules)
    outcome = Outcome(protected=dict(planned.protected), has_more=planned.has_more)
    for start in range(0, len(planned.deleted), BATCH):
        batch = {candidate.id: candidate for candidate in planned.deleted[start : start + BATCH]}
        with database.writing() as session:
            query = select(Checkpoint).where(Checkpoint.id.in_(batch)).order_by(Checkpoint.id)
            rows = session.scalars(query.with_for_update(skip_locked=True)).all()
            uses = deletion.find_uses(session, [row.id for row in rows])
            unused = [row for row in rows if row.id not in uses]
            deleted = [batch[row.id] for row in unused]
            files = deletion.delete_locked(session, unused, deleted_by=deleted_by)
        outcome.deleted += deleted
        outcome.protected |= {checkpoint: error.detail for checkpoint, error in uses.items()}
        with suppress(StorageUnavailable):  # the sweep removes them later
            for file in files:
                storage.delete(file)
    return outcome


def plan(database: Database, rules: Rules) -> Outcome:
    """Find what `enforce` would delete now; what is in use is looked for until a run has enough to delete."""
    outcome = Outcome()
    if rules.is_empty:
        return outcome
    with database.reading() as session:
        expired = _find_expired(session, rules)
        for start in range(0, len(expired), LOOKED_UP):
            batch = expired[start : start + LOOKED_UP]
            uses = deletion.find_uses(session, [candidate.id for candidate in batch])
            outcome.protected |= {checkpoint: error.detail for checkpoint, error in uses.items()}
            outcome.deleted += [candidate for candidate in batch if candidate.id not in uses]
            if len(outcome.deleted) > MOST_AT_ONCE:
                break
    outcome.has_more = len(outcome.deleted) > MOST_AT_ONCE
    del outcome.deleted[MOST_AT_ONCE:]
    return outcome


def _find_expired(session: Session, rules: Rules) -> list[Candidate]:
    """Find the checkpoints that no rule keeps, the oldest first.

    The database numbers them by age. Metrics, which it holds packed, are read only of datasets of which something would
    be deleted, and only where the best are kept.
    """
    newer = (Checkpoint.created_at.desc(), Checkpoint.id.desc())
    number = func.row_number().over(partition_by=Job.dataset_id, order_by=newer)
    columns = (Checkpoint.id, Checkpoint.job_id, Checkpoint.kind, Job.dataset_id, Checkpoint.created_at)
    found = _select_ended(rules, *columns, Checkpoint.head_bytes, number.label("number")).subquery()
    query = select(found).where(found.c.number > (rules.newest or 0)).order_by(found.c.created_at, found.c.id)
    if rules.days is not None:
        query = query.where(found.c.created_at < now() - rules.days * DAY_SECONDS)
    expired = [Candidate(*row[:-1]) for row in session.execute(query)]
    if rules.best is None or not expired:
        return expired
    best = _find_best(session, rules, rules.best, {candidate.dataset for candidate in expired})
    return [candidate for candidate in expired if candidate.id not in best]


def _find_best(session: Session, rules: Rules, count: int, datasets: Collection[str]) -> set[str]:
    """Find the most accurate checkpoints of each of these datasets, and of each choice of test images."""
    query = _select_ended(rules, Checkpoint.id, Checkpoint.created_at, Checkpoint.metrics, Job.dataset_id)
    query = query.where(Job.dataset_id.in_(datasets)).order_by(Checkpoint.id)
    groups = defaultdict(list)
    for checkpoint, created_at, metrics, dataset in session.execute(query.execution_options(yield_per=200)):
        test = (metrics or {}).get("test") or {}
        figures: dict[str, Any] = test or (metrics or {}).get("validation") or {}
        rank = (figures.get("map", figures.get("accuracy", 0.0)), -figures.get("loss", 0.0), created_at)
        groups[dataset, test.get("images_digest")].append((rank, checkpoint))
    return {checkpoint for group in groups.values() for _, checkpoint in nlargest(count, group)}


def _select_ended(rules: Rules, *columns: InstrumentedAttribute[Any] | ColumnElement[Any]) -> Select[Any]:
    """Select columns of the checkpoints that the rules are about, which are those of jobs that have ended."""
    query = select(*columns).select_from(Checkpoint).join(Job).where(Job.status.in_(TERMINAL))
    if rules.dataset is not None:
        query = query.where(Job.dataset_id == rules.dataset)
    if rules.job is not None:
        query = query.where(Job.id == rules.job)
    return query
