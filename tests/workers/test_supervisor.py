"""Supervision on both databases: the row shows the outcome, whatever happens to child, supervisor, job or database."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from service.database import Database
from service.jobs import lifecycle, repository
from service.statuses import JobStatus
from service.tables import Job
from tests.support.broken_database import lost_answers
from tests.support.jobs import add_jobs, claim_job, event_kinds, read_job, try_claim
from tests.support.scripted_attempt import ScriptedAttempt, supervise
from workers.supervisor import Supervisor

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.settings import Settings


def test_a_job_that_succeeds_is_recorded(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    ended = supervise(database, settings, ScriptedAttempt(database, settings, claim_job(database), "end"))
    assert (ended.status, ended.worker, ended.lease_until) == ("succeeded", None, None)
    assert event_kinds(database) == ["started", "succeeded"]


@pytest.mark.parametrize(("do", "cause"), [("raise", "internal_error"), ("abort", "killed_by_signal")])
def test_a_job_is_retried_after_a_crash_and_fails_after_too_many(
    database: Database, settings: Settings, do: str, cause: str
) -> None:
    add_jobs(database, 1)
    for attempt in (1, 2):
        tried = supervise(database, settings, ScriptedAttempt(database, settings, claim_job(database), do))
        assert (tried.status, tried.attempt, tried.crashes) == ("queued", attempt, attempt)
    ended = supervise(database, settings, ScriptedAttempt(database, settings, claim_job(database), do))
    assert (ended.status, ended.crashes) == ("failed", 3)
    assert ended.error is not None
    assert ended.error["code"] == cause
    assert "tried 3 times" in ended.error["message"]
    assert event_kinds(database) == ["started", "crashed", "started", "crashed", "started", "failed"]


def test_a_job_whose_workers_keep_dying_fails(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    for _ in range(settings.max_crashes):
        claim_job(database, seconds=-1.0)
    ended = supervise(database, settings, ScriptedAttempt(database, settings, claim_job(database), "end"))
    assert ended.status == "failed"
    assert ended.error == {
        "code": "worker_died",
        "message": "The worker running it died or stopped responding. It was tried 3 times.",
    }
    assert try_claim(database) is None


def test_an_internal_error_of_the_supervisor_counts_as_a_crash(database: Database, settings: Settings) -> None:
    class Faulty(ScriptedAttempt):
        def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
            row.phase = "must not be kept"
            raise KeyError("a fault of ours")

    add_jobs(database, 1)
    ended = supervise(database, settings, Faulty(database, settings, claim_job(database), "end"))
    assert (ended.status, ended.crashes, ended.phase) == ("queued", 1, None)


@pytest.mark.parametrize("moment", ["begin", "prepare", "record"])
@pytest.mark.parametrize("requested_state", ["cancel", "pause"])
def test_a_job_is_cancelled_or_paused_at_any_moment(
    database: Database, settings: Settings, requested_state: str, moment: str
) -> None:
    class WithInterrupt(ScriptedAttempt):
        def prepare(self, lines: list[bytes]) -> None:
            if moment == "prepare":
                interrupt()

    def interrupt() -> None:
        with database.writing() as session:
            row = session.get_one(Job, "job_000", with_for_update=True)
            {"cancel": lifecycle.cancel, "pause": lifecycle.pause}[requested_state](session, row)

    add_jobs(database, 1)
    attempt = WithInterrupt(database, settings, claim_job(database), "sleep" if moment == "record" else "end")
    interrupter = threading.Timer(0.5, interrupt)
    if moment == "begin":
        interrupt()
    if moment == "record":
        interrupter.start()
    ended = supervise(database, settings, attempt)
    status = {"cancel": "cancelled", "pause": "paused"}[requested_state]
    assert (ended.status, ended.phase, ended.lease_until, ended.crashes) == (status, None, None, 0)
    assert event_kinds(database)[-1] == status
    assert try_claim(database) is None


@pytest.mark.parametrize("do", ["abort", "sleep"])
def test_a_job_that_is_cancelled_while_it_crashes_or_drains_is_cancelled(
    database: Database, settings: Settings, do: str
) -> None:
    class WithInterrupt(ScriptedAttempt):
        def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
            row.status = JobStatus.CANCELLING
            stopping.set()
            return False

    stopping = threading.Event()
    add_jobs(database, 1)
    attempt = WithInterrupt(database, settings, claim_job(database), do)
    assert supervise(database, settings, attempt, stopping).status == "cancelled"


def test_nothing_is_written_after_the_lease_is_lost(database: Database, settings: Settings) -> None:
    class Robbed(ScriptedAttempt):
        def prepare(self, lines: list[bytes]) -> None:
            with database.writing() as session:
                session.execute(text("UPDATE jobs SET attempt = 7"))

    add_jobs(database, 1)
    attempt = Robbed(database, settings, claim_job(database), "end")
    left = supervise(database, settings, attempt)
    assert (left.status, left.attempt, attempt.recorded) == ("running", 7, 0)
    assert event_kinds(database) == ["started"]


def test_a_database_that_is_away_for_a_while_loses_nothing(database: Database, settings: Settings) -> None:
    class Away(ScriptedAttempt):
        def prepare(self, lines: list[bytes]) -> None:
            if supervisor.database is database:
                supervisor.database = nowhere
                threading.Timer(1.5, back).start()

    def back() -> None:
        supervisor.database = database
        came_back.set()

    came_back = threading.Event()
    nowhere = Database("postgresql+psycopg://graft@127.0.0.1:9/none")
    add_jobs(database, 1)
    attempt = Away(database, settings, claim_job(database), "end")
    supervisor = Supervisor(database, settings, attempt.claim, attempt, threading.Event())
    supervisor.run()
    assert came_back.is_set()
    assert (read_job(database).status, read_job(database).crashes) == ("succeeded", 0)


def test_events_whose_commit_was_answered_too_late_are_recorded_once(database: Database, settings: Settings) -> None:
    class WithLostAnswer(ScriptedAttempt):
        def prepare(self, lines: list[bytes]) -> None:
            if lines and not self.recorded:
                breaking.enter_context(lost_answers(database, 1))

        def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
            repository.add_event(session, row, "info", "note", "A batch", {})
            return super().record(session, row, lines)

    add_jobs(database, 1)
    attempt = WithLostAnswer(database, settings, claim_job(database), "abort")
    with ExitStack() as breaking:
        left = supervise(database, settings, attempt)
    assert left.batches == attempt.recorded > 0
    assert event_kinds(database) == ["started", *["note"] * attempt.recorded, "crashed"]
