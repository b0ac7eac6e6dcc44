"""Supervision, on both databases: whatever happens to child, supervisor, job or database, the row says how it ended."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text

from service.database import Database
from service.jobs import lifecycle
from service.settings import Settings
from service.statuses import JobStatus
from service.tables import Event, Job
from tests.support.child_work import Order, Said
from tests.workers.test_lease import add_jobs, job, take, taken
from workers.supervisor import Supervision
from workers.work.base import Interrupted
from workers.work.training import JobAttempt

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel
    from sqlalchemy.orm import Session

    from workers.lease import Claim


class Told(JobAttempt):
    """An attempt at a job whose child does as it is told: it says something three times, and then ends so."""

    module = "tests.support.child_work"

    def __init__(self, database: Database, settings: Settings, claim: Claim[Job], do: str) -> None:
        super().__init__(database, settings, claim)
        self.do = do
        self.recorded = 0

    def begin(self, session: Session, row: Job) -> BaseModel:  # type: ignore[override]
        """The attempt begins."""
        lifecycle.start(session, row)
        return Order(do=self.do, times=3)

    def prepare(self, lines: list[bytes]) -> None:
        """Nothing takes long."""

    def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
        """The third word is the last."""
        self.recorded += 1
        if Said.model_validate_json(lines[-1]).number < 2:
            return False
        if row.status == "pausing":
            raise Interrupted
        if self.do == "end":
            lifecycle.succeed(session, row, stop_reason="epochs_done", metrics={"test": {"accuracy": 1.0}})
        return self.do == "end"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings on a temporary folder."""
    return Settings(data=tmp_path)


def supervise(database: Database, settings: Settings, attempt: JobAttempt) -> Job:
    """Run the attempt; gives the job as it is then."""
    Supervision(database, settings, attempt.claim, attempt, threading.Event()).run()
    return job(database)


def kinds(database: Database) -> list[str]:
    """The kinds of all events."""
    with database.reading() as session:
        return list(session.scalars(select(Event.kind).order_by(Event.seq)))


def test_what_ends_well_is_written_down(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    ended = supervise(database, settings, Told(database, settings, taken(database), "end"))
    assert (ended.status, ended.worker, ended.lease_until) == ("succeeded", None, None)
    assert kinds(database) == ["started", "succeeded"]


@pytest.mark.parametrize(("do", "cause"), [("raise", "internal_error"), ("abort", "killed_by_signal")])
def test_a_child_that_dies_is_tried_again_until_it_was_too_often(
    database: Database, settings: Settings, do: str, cause: str
) -> None:
    add_jobs(database, 1)
    for attempt in (1, 2):
        tried = supervise(database, settings, Told(database, settings, taken(database), do))
        assert (tried.status, tried.attempt, tried.crashes) == ("queued", attempt, attempt)
    ended = supervise(database, settings, Told(database, settings, taken(database), do))
    assert (ended.status, ended.crashes) == ("failed", 3)
    assert ended.error is not None
    assert ended.error["code"] == cause
    assert "tried 3 times" in ended.error["message"]
    assert kinds(database) == ["started", "crashed", "started", "crashed", "started", "failed"]


def test_a_job_whose_workers_die_is_given_up_too(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    for _ in range(settings.max_crashes):
        taken(database, seconds=-1.0)
    ended = supervise(database, settings, Told(database, settings, taken(database), "end"))
    assert ended.status == "failed"
    assert ended.error == {
        "code": "worker_died",
        "message": "The worker that ran it died or went silent. It was tried 3 times.",
    }
    assert take(database) is None


def test_an_error_of_the_supervisors_own_counts_as_a_crash(database: Database, settings: Settings) -> None:
    class Faulty(Told):
        def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
            row.phase = "must not be kept"
            raise KeyError("a fault of ours")

    add_jobs(database, 1)
    ended = supervise(database, settings, Faulty(database, settings, taken(database), "end"))
    assert (ended.status, ended.crashes, ended.phase) == ("queued", 1, None)


@pytest.mark.parametrize("moment", ["begin", "prepare", "record"])
@pytest.mark.parametrize("requested_state", ["cancel", "pause"])
def test_a_job_is_cancelled_or_paused_at_any_moment(
    database: Database, settings: Settings, requested_state: str, moment: str
) -> None:
    class Interrupted(Told):
        def prepare(self, lines: list[bytes]) -> None:
            if moment == "prepare":
                interrupt()

    def interrupt() -> None:
        with database.writing() as session:
            row = session.get_one(Job, "job_000", with_for_update=True)
            {"cancel": lifecycle.cancel, "pause": lifecycle.pause}[requested_state](session, row)

    add_jobs(database, 1)
    attempt = Interrupted(database, settings, taken(database), "sleep" if moment == "record" else "end")
    interrupter = threading.Timer(0.5, interrupt)
    if moment == "begin":
        interrupt()
    if moment == "record":
        interrupter.start()
    ended = supervise(database, settings, attempt)
    status = {"cancel": "cancelled", "pause": "paused"}[requested_state]
    assert (ended.status, ended.phase, ended.lease_until, ended.crashes) == (status, None, None, 0)
    assert kinds(database)[-1] == status
    assert take(database) is None


@pytest.mark.parametrize("do", ["abort", "sleep"])
def test_what_is_cancelled_while_it_dies_or_is_handed_back_is_cancelled(
    database: Database, settings: Settings, do: str
) -> None:
    class Interrupted(Told):
        def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
            row.status = JobStatus.CANCELLING
            stopping.set()
            return False

    stopping = threading.Event()
    add_jobs(database, 1)
    attempt = Interrupted(database, settings, taken(database), do)
    Supervision(database, settings, attempt.claim, attempt, stopping).run()
    assert job(database).status == "cancelled"


def test_a_lost_lease_writes_nothing_more(database: Database, settings: Settings) -> None:
    class Robbed(Told):
        def prepare(self, lines: list[bytes]) -> None:
            with database.writing() as session:
                session.execute(text("UPDATE jobs SET attempt = 7"))

    add_jobs(database, 1)
    attempt = Robbed(database, settings, taken(database), "end")
    left = supervise(database, settings, attempt)
    assert (left.status, left.attempt, attempt.recorded) == ("running", 7, 0)
    assert kinds(database) == ["started"]


def test_a_database_that_is_away_for_a_while_loses_nothing(database: Database, settings: Settings) -> None:
    class Away(Told):
        def prepare(self, lines: list[bytes]) -> None:
            if supervision.database is database:
                supervision.database = nowhere
                threading.Timer(1.5, back).start()

    def back() -> None:
        supervision.database = database
        came_back.set()

    came_back = threading.Event()
    nowhere = Database("postgresql+psycopg://graft@127.0.0.1:9/none")
    add_jobs(database, 1)
    attempt = Away(database, settings, taken(database), "end")
    supervision = Supervision(database, settings, attempt.claim, attempt, threading.Event())
    supervision.run()
    assert came_back.is_set()
    assert (job(database).status, job(database).crashes) == ("succeeded", 0)
