"""The life cycle on real databases against a model of it: whatever callers, workers and the sweep do, in any order."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import delete, select, update
from sqlalchemy.event import listen

from models.messages import EpochEnded, Failed, ProgressSaved
from service.errors import WrongState
from service.jobs import lifecycle, repository
from service.settings import Settings
from service.tables import Dataset, Epoch, Event, Job, now
from service.wakeup import Queue
from tests.support.job_model import INTERRUPTED, MAX_CRASHES, MESSAGES, REQUESTS, TRANSITIONS, Modelled
from workers.lease import Claim, Lease, LeaseLost, claim, fence, has_claimable
from workers.maintenance import sweep
from workers.outcome import Crashed, Drained, Postponed, Unfinished
from workers.supervisor import Supervisor
from workers.work.base import InterruptRequested
from workers.work.training import JobAttempt

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlalchemy.orm import Session

    from service.database import Database

LEASE_SECONDS = 600.0
WORKERS = ("one", "two", "three")
STEPS = {"submit": 2, "claim": 4, "expire": 2, "wait_out": 1, "renew": 2, "sweep": 1, "ask": 6, "transit": 4, "work": 6}
"""Steps of the machine, with their frequencies."""
ACTIONS = ("begin", *MESSAGES, "crash", "drain", "postpone")
ARGUMENTS: dict[str, dict[str, Any]] = {
    "succeed": {"stop_reason": "epochs_done", "metrics": {"test": {"accuracy": 1.0}}},
    "fail": {"code": "c", "message": "m"},
    "crash": {"cause": "c", "message": "m"},
    "postpone": {"cause": "c", "message": "m", "seconds": LEASE_SECONDS},
}
"""Arguments of transitions that need any."""
OUTCOMES: dict[str, Unfinished] = {
    "crash": Crashed("c", "m"),
    "drain": Drained(),
    "postpone": Postponed("c", "m", LEASE_SECONDS),
}
"""Outcomes of attempts that end with these actions."""


class Life(RuleBasedStateMachine):
    """Callers, three workers and the sweep."""

    def __init__(self, database: Database, settings: Settings) -> None:
        super().__init__()
        self.database, self.settings = database, settings
        self.model: dict[str, Modelled] = {}
        self.claims: list[Claim[Job]] = []
        with database.writing() as session:
            session.execute(delete(Job))
            if session.get(Dataset, "ds_1") is None:
                files = {"pack": "p", "index": "i", "digest": "0" * 64}
                session.add(Dataset(id="ds_1", name="", status="ready", classes=[], images=0, **files))

    @initialize(priorities=st.tuples(st.integers(-1, 1), st.integers(-1, 1)))
    def begin(self, priorities: tuple[int, ...]) -> None:
        """There is something to do, and somebody at work."""
        for priority in priorities:
            self._add(priority)
        self._take("one")

    # One rule for all steps: of many, Hypothesis turns about half off in each example, and so few examples would
    # then hardly ever get far.
    @rule(step=st.sampled_from([step for step, times in STEPS.items() for _ in range(times)]), data=st.data())
    def take_step(self, step: str, data: st.DataObject) -> None:
        """The next thing happens."""
        getattr(self, step)(data)

    def submit(self, data: st.DataObject) -> None:
        """A caller wants a job."""
        self._add(data.draw(st.integers(-1, 1), "priority"))

    def claim(self, data: st.DataObject) -> None:
        """A worker is woken, perhaps for nothing."""
        self._take(data.draw(st.sampled_from(WORKERS), "worker"))

    def expire(self, data: st.DataObject) -> None:
        """A worker is silent for longer than its lease."""
        job = self._any_job(data)
        if job.worker is not None:
            self._set(job, lease_until=now() - 1)
            job.is_expired = True

    def wait_out(self, data: st.DataObject) -> None:
        """The wait of a postponed job is over."""
        job = self._any_job(data)
        self._set(job, waits_until=now() - 1)
        job.waits = False

    def renew(self, data: st.DataObject) -> None:
        """Heartbeats of all who ever held a job: only who holds it now is heard."""
        _, job = self._any_claim(data)
        for held in (held for held in self.claims if held.id == job.id):
            state = Lease(self.database, held, LEASE_SECONDS)._renew()
            if not job.is_held_by(held):
                assert state is None
                continue
            job.is_expired = False
            assert state == ("stopping" if job.is_stopping and job.status == "running" else job.status)

    def ask(self, data: st.DataObject) -> None:
        """A caller wants something of a job."""
        job = self._any_job(data)
        requests = [requested_state for requested_state, states in REQUESTS.items() if job.status in states]
        if requests:
            requested_state = data.draw(st.sampled_from(requests), "request")
            with self.database.writing() as session:
                getattr(lifecycle, requested_state)(session, repository.get(session, job.id, lock=True))
            job.ask(requested_state)

    def transit(self, data: st.DataObject) -> None:
        """A worker makes a job go another way, perhaps one whose attempt is over."""
        held, job = self._any_claim(data)
        is_held = job.is_held_by(held)
        names = [name for name, states in TRANSITIONS.items() if job.status in states or not is_held]
        name = data.draw(st.sampled_from(names), "transition")
        with refused(None if is_held else LeaseLost), self.database.writing() as session:
            getattr(lifecycle, name)(session, fence(session, held), **ARGUMENTS.get(name, {}))
        if is_held:
            job.transit(name)

    def work(self, data: st.DataObject) -> None:
        """A worker writes what its supervision writes, perhaps one whose attempt is over."""
        held, job = self._any_claim(data)
        action = data.draw(st.sampled_from(ACTIONS), "action")
        attempt = JobAttempt(self.database, self.settings, held)
        supervisor = Supervisor(self.database, self.settings, held, attempt, threading.Event())
        if held.crashes >= MAX_CRASHES:
            supervisor.run()  # starts no child, and ends quietly if the lease is lost
            if job.is_held_by(held):
                job.leave("interrupt" if job.status in INTERRUPTED else "fail")
            return
        refusal = refusal_of(job, held, action)
        with refused(refusal):
            supervisor._write(write_of(supervisor, action, job.epochs + 1))
        if refusal is None:
            job.work(action)

    def sweep(self, _: st.DataObject) -> None:
        """The sweep interrupts jobs whose workers are silent, where that was requested."""
        sweep(self.database, Queue(""))
        for job in self.model.values():
            if job.is_expired and job.status in INTERRUPTED:
                job.leave("interrupt")

    def _add(self, priority: int) -> None:
        job = Modelled(f"job_{len(self.model):04}", priority)
        self.model[job.id] = job
        columns: dict[str, Any] = {"dataset_id": "ds_1", "backbone": "hf/some/net", "recipe": {}, "event_seq": 0}
        with self.database.writing() as session:
            session.add(Job(id=job.id, status="queued", priority=priority, **columns))

    def _take(self, worker: str) -> None:
        free = sorted((job for job in self.model.values() if job.is_free), key=lambda job: (-job.priority, job.id))
        with self.database.writing() as session:
            assert session.scalar(select(has_claimable(Job, "queued", "running", worker))) == bool(free)
            found = claim(session, Job, "queued", "running", worker, LEASE_SECONDS)
        if not free:
            assert found is None
            return
        free[0].take(worker)
        assert found == Claim(Job, free[0].id, free[0].attempt, free[0].crashes, asked_at=0.0)
        self.claims.append(found)

    def _any_job(self, data: st.DataObject) -> Modelled:
        """A job, rather one that somebody works on."""
        jobs = list(self.model.values())
        return data.draw(st.sampled_from([*(job for job in jobs if job.worker is not None), *jobs[-3:]]), "job")

    def _any_claim(self, data: st.DataObject) -> tuple[Claim[Job], Modelled]:
        """A claim, rather one that still holds its job, and the job."""
        holding = [held for held in self.claims if self.model[held.id].is_held_by(held)]
        held = data.draw(st.sampled_from([*holding, *holding, *self.claims[-3:]]), "claim")
        return held, self.model[held.id]

    def _set(self, job: Modelled, **columns: Any) -> None:
        with self.database.writing() as session:
            session.execute(update(Job).where(Job.id == job.id).values(columns))

    @invariant()
    def is_as_modelled(self) -> None:
        """The tables say what the model says: nothing that was refused has left anything."""
        with self.database.reading() as session:
            rows = {row.id: row for row in session.scalars(select(Job))}
            events = session.scalars(select(Event).order_by(Event.seq)).all()
            epochs = session.execute(select(Epoch.job_id, Epoch.epoch).order_by(Epoch.epoch)).all()
        assert set(rows) == set(self.model)
        for job in self.model.values():
            row = rows[job.id]
            is_row_as_modelled(row, job)
            are_events_as_modelled(row, [event for event in events if event.job_id == job.id], job)
            assert [epoch for job_id, epoch in epochs if job_id == job.id] == list(range(1, job.epochs + 1))

    @invariant()
    def refuses_all_else(self) -> None:
        """No job can leave its state in a way that the model does not know."""
        with self.database.reading() as session:  # which commits nothing
            for row in session.scalars(select(Job)).all():
                requests = [requested_state for requested_state, states in REQUESTS.items() if row.status not in states]
                transitions = [name for name, states in TRANSITIONS.items() if row.status not in states]
                for name in requests + transitions:
                    with session.no_autoflush, pytest.raises(WrongState):
                        getattr(lifecycle, name)(session, row, **ARGUMENTS.get(name, {}))


def is_row_as_modelled(row: Job, job: Modelled) -> None:
    """The job's row says what the model says."""
    columns = (row.status, row.attempt, row.crashes, row.worker, row.silent_worker, row.is_stopping)
    assert columns == (job.status, job.attempt, job.crashes, job.worker, job.silent, job.is_stopping)
    assert (row.lease_until is None) == (job.worker is None)
    assert job.worker is not None or row.phase is None
    assert (row.finished_at is not None) == (row.status in lifecycle.TERMINAL)


def are_events_as_modelled(row: Job, events: list[Event], job: Modelled) -> None:
    """The job's events are those of the model, and it ends once."""
    assert [event.seq for event in events] == list(range(1, row.event_seq + 1)), "numbers without gaps"
    assert [(event.kind, event.data.get("attempt")) for event in events] == job.events
    ends = [event.kind for event in events if event.kind in lifecycle.TERMINAL]
    assert ends == ([row.status] if row.status in lifecycle.TERMINAL else []), "it ends once, and for good"


def refused(refusal: type[Exception] | None) -> AbstractContextManager[object]:
    """Expect the block to raise this error, if any."""
    return nullcontext() if refusal is None else pytest.raises(refusal)


def refusal_of(job: Modelled, held: Claim[Job], action: str) -> type[Exception] | None:
    """The error by which a supervisor is kept from this action, if it is."""
    if not job.is_held_by(held):
        return LeaseLost
    refusing = ("cancelling",) if action in ("epoch", "secure") else tuple(INTERRUPTED)
    is_refused = job.status in refusing and action in ("begin", *MESSAGES)
    return InterruptRequested if is_refused else None


def write_of(supervisor: Supervisor[Job], action: str, epoch: int) -> Callable[[Session, Job], object]:
    """Choose what a supervisor writes for this action, in a fenced transaction of its own."""
    if action == "begin":
        return supervisor._start
    if action in MESSAGES:
        lines = [event_of(action, epoch).model_dump_json().encode()]

        def record(session: Session, row: Job) -> bool:
            supervisor._batches = row.batches  # one supervisor records all batches of an attempt
            return supervisor._record_unless_cancelled(session, row, lines)

        return record
    outcome = OUTCOMES[action]
    return lambda session, row: supervisor._write_outcome(session, row, outcome)


def event_of(action: str, epoch: int) -> EpochEnded | ProgressSaved | Failed:
    """Make the message that a child sends."""
    if action == "secure":
        return ProgressSaved()
    if action == "fail":
        return Failed(code="c", message="m")
    shares = dict.fromkeys(("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr"), 0.5)
    return EpochEnded(epoch=epoch, view=0, seconds=0.1, cache_hits=0, cache_misses=0, **shares)


@pytest.mark.parametrize(
    ("examples", "steps", "is_random"),
    [
        pytest.param(50, 40, False, id="few", marks=pytest.mark.extended),
        pytest.param(1000, 60, True, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_it_is_as_the_model_says(
    database: Database, tmp_path: Path, examples: int, steps: int, is_random: bool
) -> None:
    chosen = hypothesis_settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=not is_random,
        suppress_health_check=[HealthCheck.too_slow],
    )
    if database.engine.dialect.name == "sqlite":  # a power cut is not what this is about
        listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    settings = Settings(data=tmp_path / "data", max_crashes=MAX_CRASHES, lease_seconds=LEASE_SECONDS)
    run_state_machine_as_test(lambda: Life(database, settings), settings=chosen)
