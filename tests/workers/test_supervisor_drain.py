"""Attempts that leave work to the next one, on both databases: progress is saved, and no crash is counted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select

from models.messages import ProgressSaved
from service.checkpoints.errors import ContentsCollected
from service.database import Database
from service.jobs import lifecycle
from service.settings import Settings
from service.storage import StorageUnavailable
from service.tables import Event, Job
from tests.support.child_work import Count
from tests.support.jobs import add_jobs, claim_job, event_kinds, read_job, try_claim
from tests.support.scripted_attempt import ScriptedAttempt, supervise
from workers.supervisor import Supervisor
from workers.work.training import JobAttempt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.orm import Session


class Snapshotter(ScriptedAttempt):
    """An attempt whose child, asked to drain, sends a fourth event."""

    can_save_progress = True
    then: Callable[[], None] | None = None
    """Called soon after its first event."""

    def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
        """Write the event's number to the job."""
        if self.then is not None:
            threading.Timer(0.1, self.then).start()
            self.then = None
        row.progress = {"last": Count.model_validate_json(lines[-1]).number}
        return False


@pytest.mark.parametrize("requested_state", ["pause", "stop the worker"])
def test_progress_is_saved_before_a_pause_or_a_stop_of_the_worker(
    database: Database, settings: Settings, requested_state: str
) -> None:
    def pause() -> None:
        with database.writing() as session:
            lifecycle.pause(session, session.get_one(Job, "job_000", with_for_update=True))

    add_jobs(database, 1)
    stopping = threading.Event()
    attempt = Snapshotter(database, settings, claim_job(database), "drain")
    attempt.then = pause if requested_state == "pause" else stopping.set
    left = supervise(database, settings, attempt, stopping)
    assert (left.status, left.crashes) == ("paused" if requested_state == "pause" else "queued", 0)
    assert left.progress == {"last": 3}


def test_a_child_that_saves_nothing_in_time_is_killed(database: Database, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, drain_seconds=0.5)
    add_jobs(database, 1)
    stopping = threading.Event()
    attempt = Snapshotter(database, settings, claim_job(database), "sleep")
    attempt.then = stopping.set
    Supervisor(database, settings, attempt.claim, attempt, stopping).run()
    assert (read_job(database).status, read_job(database).crashes) == ("queued", 0)


@pytest.mark.parametrize("ending", ["full", "no storage"])
def test_a_full_disk_or_storage_that_is_away_postpones_the_job_and_is_no_crash(
    database: Database, settings: Settings, ending: str
) -> None:
    add_jobs(database, 1)
    left = supervise(database, settings, ScriptedAttempt(database, settings, claim_job(database), ending))
    assert (left.status, left.crashes, left.lease_until) == ("queued", 0, None)
    assert event_kinds(database) == ["started", "postponed"]
    assert try_claim(database) is None, "not before there may be room again"


def test_storage_that_is_away_before_an_attempt_starts_postpones_the_job(
    database: Database, settings: Settings
) -> None:
    class Unreachable(ScriptedAttempt):
        def fetch_inputs(self) -> None:
            raise StorageUnavailable("The storage does not answer.")

    add_jobs(database, 1)
    left = supervise(database, settings, Unreachable(database, settings, claim_job(database), "end"))
    assert (left.status, left.crashes, left.lease_until) == ("queued", 0, None)
    with database.reading() as session:
        (event,) = session.scalars(select(Event))
    assert (event.kind, event.data["cause"]) == ("postponed", "storage_unavailable")
    assert "GRAFT_STORAGE_URL" in event.message


def test_tensors_that_were_collected_are_stored_again(database: Database, settings: Settings) -> None:
    class Collected(ScriptedAttempt):
        prepared = 0

        def prepare(self, lines: list[bytes]) -> None:
            self.prepared += 1

        def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
            if self.prepared == 1:
                raise ContentsCollected("gone")
            return super().record(session, row, lines)

    add_jobs(database, 1)
    attempt = Collected(database, settings, claim_job(database), "end")
    assert supervise(database, settings, attempt).status == "succeeded"
    assert attempt.prepared > 1


def test_a_job_that_makes_progress_may_crash_often(database: Database, settings: Settings) -> None:
    class Further(ScriptedAttempt):
        def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
            JobAttempt.record(self, session, row, [ProgressSaved().model_dump_json().encode()])
            return False

    add_jobs(database, 1)
    for attempt in range(1, 6):
        tried = supervise(database, settings, Further(database, settings, claim_job(database), "abort"))
        assert (tried.status, tried.attempt, tried.crashes) == ("queued", attempt, 1)


def test_the_final_error_lists_the_cause_of_each_crash(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    supervise(database, settings, ScriptedAttempt(database, settings, claim_job(database), "abort"))
    claim_job(database, "dead", seconds=-1.0)
    ended = supervise(database, settings, ScriptedAttempt(database, settings, claim_job(database), "memory"))
    assert ended.error is not None
    assert ended.error["code"] == "out_of_memory"
    assert "Attempt 2 ended before: worker_died." in ended.error["message"]
    assert "Attempt 1 ended before: killed_by_signal." in ended.error["message"]


def test_a_worker_that_stops_requeues_its_job_and_that_is_no_crash(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    stopping = threading.Event()
    attempt = ScriptedAttempt(database, settings, claim_job(database), "sleep")
    threading.Timer(0.5, stopping.set).start()
    left = supervise(database, settings, attempt, stopping)
    assert (left.status, left.crashes, left.lease_until) == ("queued", 0, None)


def test_a_worker_cut_off_from_the_database_requeues_its_job_once_it_answers(
    database: Database, tmp_path: Path
) -> None:
    class CutOff(ScriptedAttempt):
        def prepare(self, lines: list[bytes]) -> None:
            if supervisor.database is database:
                supervisor.database = supervisor.lease.database = nowhere
                threading.Timer(3.0, back).start()

    def back() -> None:
        supervisor.database = database

    nowhere = Database("postgresql+psycopg://graft@127.0.0.1:9/none")
    settings = Settings(data=tmp_path, lease_seconds=2)
    add_jobs(database, 1)
    attempt = CutOff(database, settings, claim_job(database), "end")
    supervisor = Supervisor(database, settings, attempt.claim, attempt, threading.Event())
    supervisor.run()
    assert supervisor.lease.state == "cut_off"
    left = read_job(database)
    assert (left.status, left.crashes, left.lease_until) == ("queued", 0, None)
    assert event_kinds(database) == ["started", "drained"]
