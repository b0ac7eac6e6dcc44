"""The life cycle on real databases against a model of it: whatever callers, workers and the sweep do, in any order."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, func, select, update

from service.jobs import lifecycle, repository
from service.jobs.schemas import Status
from service.queue import Queue
from service.tables import Dataset, Epoch, Event, Job, now
from workers.leases import Claim, Lease, LeaseLost, claim, fence
from workers.sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.orm import Session

    from service.database import Database

LEASE_SECONDS = 600.0
WORKERS = st.sampled_from(["one", "two", "three"])
LEFT_OFF = {"cancelling": "cancelled", "pausing": "paused"}


def write_epoch(session: Session, row: Job) -> None:
    """An epoch, and its event."""
    done = session.scalar(select(func.count()).where(Epoch.job_id == row.id))
    figures = dict.fromkeys(("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr"), 0.0)
    counts = dict.fromkeys(("view", "seconds", "cache_hits", "cache_misses"), 0)
    session.add(Epoch(job_id=row.id, epoch=done + 1, **figures, **counts))
    repository.add_event(session, row, "info", "epoch", "said", {})


def die(session: Session, row: Job) -> None:
    """The attempt's child has died."""
    row.crashes += 1
    lifecycle.crash(session, row, "killed_by_signal", "It died.")


DEEDS: dict[str, tuple[Callable[[Session, Job], None], Sequence[str], str | None]] = {
    "write": (write_epoch, get_args(Status), None),
    "succeed": (
        partial(lifecycle.succeed, stop_reason="epochs_done", metrics={"test": {"accuracy": 1.0}}),
        ("running",),
        "succeeded",
    ),
    "fail": (partial(lifecycle.fail, code="c", message="m"), ("running",), "failed"),
    "crash": (die, ("running",), "queued"),
    "hand_back": (lifecycle.hand_back, ("running",), "queued"),
    "postpone": (
        partial(lifecycle.postpone, cause="disk_full", message="Full.", seconds=LEASE_SECONDS),
        ("running",),
        "queued",
    ),
    "leave_off": (lifecycle.left_off, tuple(LEFT_OFF), None),
}
"""What a worker writes, in which states it may, and what becomes of the job."""


@dataclass
class Modelled:
    """What a job ought to be."""

    id: str
    priority: int
    status: str = "queued"
    attempt: int = 0
    crashes: int = 0
    worker: str | None = None
    is_expired: bool = False
    waits: bool = False
    is_stopping: bool = False
    epochs: int = 0

    @property
    def is_free(self) -> bool:
        """Whether the next worker may take it."""
        return self.status in ("queued", "running") and not self.waits and (self.worker is None or self.is_expired)

    def held_by(self, claim: Claim[Job]) -> bool:
        """Whether this claim may write; a lease that has run out counts until somebody else has taken the job."""
        return self.worker is not None and self.attempt == claim.attempt

    def release(self, status: str) -> None:
        """Nobody works on it."""
        self.status, self.worker, self.is_expired = status, None, False


class Life(RuleBasedStateMachine):
    """Callers, three workers and the sweep."""

    jobs = Bundle("jobs")
    claims = Bundle("claims")

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.database = database
        self.model: dict[str, Modelled] = {}
        with database.writing() as session:
            session.execute(delete(Job))
            if session.get(Dataset, "ds_1") is None:
                session.add(Dataset(id="ds_1", name="", status="ready", classes=[], images=0))

    @initialize(target=jobs, priorities=st.tuples(*[st.integers(-1, 1)] * 3))
    def begin(self, priorities: tuple[int, ...]) -> Any:
        """There is something to do."""
        return multiple(*(self.submit(priority) for priority in priorities))

    @rule(target=jobs, priority=st.integers(-1, 1))
    def submit_another(self, priority: int) -> str:
        """A caller wants a job."""
        return self.submit(priority)

    def submit(self, priority: int) -> str:
        """A job more."""
        job = Modelled(f"job_{len(self.model):04}", priority)
        self.model[job.id] = job
        with self.database.writing() as session:
            session.add(
                Job(
                    id=job.id,
                    status="queued",
                    dataset_id="ds_1",
                    backbone="b",
                    recipe={},
                    event_seq=0,
                    priority=priority,
                )
            )
        return job.id

    @rule(target=claims, worker=WORKERS)
    def claim(self, worker: str) -> Any:
        """A worker is woken, perhaps for nothing."""
        with self.database.writing() as session:
            found = claim(session, Job, "queued", "running", worker, LEASE_SECONDS)
        free = sorted((job for job in self.model.values() if job.is_free), key=lambda job: (-job.priority, job.id))
        if not free:
            assert found is None
            return multiple()
        job = free[0]
        job.crashes += job.worker is not None
        job.attempt += 1
        job.status, job.worker, job.is_expired = "running", worker, False
        assert found == Claim(Job, job.id, job.attempt, job.crashes)
        return found

    @rule(job=jobs)
    def expire(self, job: str) -> None:
        """Its worker is silent for longer than its lease."""
        if self.model[job].worker is not None:
            self._set(job, lease_until=now() - 1)
            self.model[job].is_expired = True

    @rule(job=jobs)
    def wait_out(self, job: str) -> None:
        """What it needs may be there again."""
        self._set(job, waits_until=now() - 1)
        self.model[job].waits = False

    @rule(held=claims)
    def renew(self, held: Claim[Job]) -> None:
        """A heartbeat, perhaps of one that was silent for long."""
        job = self.model[held.id]
        said = Lease(self.database, held, LEASE_SECONDS)._renew()
        if not job.held_by(held):
            assert said is None
            return
        job.is_expired = False
        assert said == ("stopping" if job.is_stopping and job.status == "running" else job.status)

    @rule(held=claims, deed=st.sampled_from(sorted(DEEDS)))
    def act(self, held: Claim[Job], deed: str) -> None:
        """Its worker writes, perhaps one whose attempt is over."""
        job = self.model[held.id]
        write, states, becomes = DEEDS[deed]
        refusal: type[Exception] | None = None if job.status in states else lifecycle.WrongState
        if not job.held_by(held):
            refusal = LeaseLost
        with nullcontext() if refusal is None else pytest.raises(refusal), self.database.writing() as session:
            write(session, fence(session, held))
        if refusal is None:
            job.epochs += deed == "write"
            job.crashes += deed == "crash"
            job.waits = job.waits or deed == "postpone"
            if deed != "write":
                job.release(becomes or LEFT_OFF[job.status])

    @rule()
    def sweep(self) -> None:
        """Jobs that shall be left off, whose workers are silent, are."""
        sweep(self.database, Queue(""))
        for job in self.model.values():
            if job.is_expired and job.status in LEFT_OFF:
                job.release(LEFT_OFF[job.status])

    @rule(job=jobs, wish=st.sampled_from(["cancel", "pause", "resume", "stop"]))
    def ask(self, job: str, wish: str) -> None:
        """A caller wants something of it."""
        modelled = self.model[job]
        after = WISHES[wish].get(modelled.status)
        with self.database.writing() as session:
            row = repository.get(session, job, lock=True)
            if after is None:
                with pytest.raises(lifecycle.WrongState):
                    getattr(lifecycle, wish)(session, row)
                return
            getattr(lifecycle, wish)(session, row)
        modelled.status = after
        modelled.is_stopping = modelled.is_stopping or wish == "stop"

    @invariant()
    def is_as_modelled(self) -> None:
        """The tables say what the model says."""
        with self.database.reading() as session:
            rows = {row.id: row for row in session.scalars(select(Job))}
            events = session.execute(
                select(Event.job_id, Event.seq, Event.kind).order_by(Event.job_id, Event.seq)
            ).all()
            epochs = session.execute(select(Epoch.job_id, Epoch.epoch)).all()
        assert set(rows) == set(self.model)
        for job in self.model.values():
            row = rows[job.id]
            said = (row.status, row.attempt, row.crashes, row.worker, row.is_stopping)
            assert said == (job.status, job.attempt, job.crashes, job.worker, job.is_stopping)
            assert (row.lease_until is None) == (job.worker is None)
            own = [(seq, kind) for job_id, seq, kind in events if job_id == job.id]
            assert [seq for seq, _ in own] == list(range(1, row.event_seq + 1)), "numbers without gaps"
            ends = [kind for _, kind in own if kind in lifecycle.TERMINAL]
            assert ends == ([row.status] if row.status in lifecycle.TERMINAL else []), "it ends once"
            assert sum(kind == "epoch" for _, kind in own) == job.epochs
            assert sum(job_id == job.id for job_id, _ in epochs) == job.epochs

    def _set(self, job: str, **columns: Any) -> None:
        with self.database.writing() as session:
            session.execute(update(Job).where(Job.id == job).values(columns))


WISHES = {
    "cancel": {
        "queued": "cancelled",
        "paused": "cancelled",
        "running": "cancelling",
        "pausing": "cancelling",
        "cancelling": "cancelling",
        "cancelled": "cancelled",
    },
    "pause": {"queued": "paused", "running": "pausing", "pausing": "pausing", "paused": "paused"},
    "resume": {"paused": "queued"},
    "stop": {"running": "running"},
}
"""What becomes of a job in each state that allows it."""


@pytest.mark.parametrize(
    ("examples", "steps"), [(100, 40), pytest.param(1000, 60, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_it_is_as_the_model_says(database: Database, examples: int, steps: int) -> None:
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=examples == 100,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(lambda: Life(database), settings=chosen)
