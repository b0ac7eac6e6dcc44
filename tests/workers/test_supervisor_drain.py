"""Supervision that leaves work to another attempt, on both databases: what was done is secured, nobody is blamed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from models.messages import ProgressSaved
from service.checkpoints.errors import ContentsCollected
from service.database import Database
from service.jobs import lifecycle
from service.settings import Settings
from service.tables import Job
from tests.support.child_work import Said
from tests.workers.test_lease import add_jobs, job, take, taken
from tests.workers.test_supervisor import Told, kinds, settings, supervise
from workers.supervisor import Supervision
from workers.work.training import JobAttempt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sqlalchemy.orm import Session

__all__ = ["settings"]  # the fixture


class Snapshotter(Told):
    """An attempt whose child secures what it has done when it is asked to; that is its fourth word."""

    can_secure = True
    then: Callable[[], None] | None = None
    """Done soon after its first word."""

    def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
        """The job is told of what was secured."""
        if self.then is not None:
            threading.Timer(0.1, self.then).start()
            self.then = None
        row.progress = {"last": Said.model_validate_json(lines[-1]).number}
        return False


@pytest.mark.parametrize("requested_state", ["pause", "stop the worker"])
def test_who_leaves_off_secures_what_was_done(database: Database, settings: Settings, requested_state: str) -> None:
    def pause() -> None:
        with database.writing() as session:
            lifecycle.pause(session, session.get_one(Job, "job_000", with_for_update=True))

    add_jobs(database, 1)
    stopping = threading.Event()
    attempt = Snapshotter(database, settings, taken(database), "leave")
    attempt.then = pause if requested_state == "pause" else stopping.set
    Supervision(database, settings, attempt.claim, attempt, stopping).run()
    left = job(database)
    assert (left.status, left.crashes) == ("paused" if requested_state == "pause" else "queued", 0)
    assert left.progress == {"last": 3}


def test_a_child_that_saves_nothing_in_time_is_killed(database: Database, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, drain_seconds=0.5)
    add_jobs(database, 1)
    stopping = threading.Event()
    attempt = Snapshotter(database, settings, taken(database), "sleep")
    attempt.then = stopping.set
    Supervision(database, settings, attempt.claim, attempt, stopping).run()
    assert (job(database).status, job(database).crashes) == ("queued", 0)


def test_without_room_on_a_disk_it_waits_and_that_is_no_crash(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    left = supervise(database, settings, Told(database, settings, taken(database), "full"))
    assert (left.status, left.crashes, left.lease_until) == ("queued", 0, None)
    assert kinds(database) == ["started", "postponed"]
    assert take(database) is None, "not before there may be room again"


def test_what_was_collected_is_prepared_again(database: Database, settings: Settings) -> None:
    class Collected(Told):
        prepared = 0

        def prepare(self, lines: list[bytes]) -> None:
            self.prepared += 1

        def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
            if self.prepared == 1:
                raise ContentsCollected("gone")
            return super().record(session, row, lines)

    add_jobs(database, 1)
    attempt = Collected(database, settings, taken(database), "end")
    assert supervise(database, settings, attempt).status == "succeeded"
    assert attempt.prepared > 1


def test_a_job_that_gets_further_may_die_often(database: Database, settings: Settings) -> None:
    class Further(Told):
        def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
            JobAttempt.record(self, session, row, [ProgressSaved().model_dump_json().encode()])
            return False

    add_jobs(database, 1)
    for attempt in range(1, 6):
        tried = supervise(database, settings, Further(database, settings, taken(database), "abort"))
        assert (tried.status, tried.attempt, tried.crashes) == ("queued", attempt, 1)


def test_what_killed_each_attempt_is_said_in_the_end(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    supervise(database, settings, Told(database, settings, taken(database), "abort"))
    taken(database, "the silent", seconds=-1.0)
    ended = supervise(database, settings, Told(database, settings, taken(database), "memory"))
    assert ended.error is not None
    assert ended.error["code"] == "out_of_memory"
    assert "Attempt 2 ended before: worker_died." in ended.error["message"]
    assert "Attempt 1 ended before: killed_by_signal." in ended.error["message"]


def test_a_worker_that_stops_hands_its_job_back_at_no_cost(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    stopping = threading.Event()
    attempt = Told(database, settings, taken(database), "sleep")
    threading.Timer(0.5, stopping.set).start()
    Supervision(database, settings, attempt.claim, attempt, stopping).run()
    left = job(database)
    assert (left.status, left.crashes, left.lease_until) == ("queued", 0, None)


def test_who_was_cut_off_from_the_database_hands_its_job_back_when_it_answers(
    database: Database, tmp_path: Path
) -> None:
    class CutOff(Told):
        def prepare(self, lines: list[bytes]) -> None:
            if supervision.database is database:
                supervision.database = supervision.lease.database = nowhere
                threading.Timer(3.0, back).start()

    def back() -> None:
        supervision.database = database

    nowhere = Database("postgresql+psycopg://graft@127.0.0.1:9/none")
    settings = Settings(data=tmp_path, lease_seconds=2)
    add_jobs(database, 1)
    attempt = CutOff(database, settings, taken(database), "end")
    supervision = Supervision(database, settings, attempt.claim, attempt, threading.Event())
    supervision.run()
    assert supervision.lease.state == "cut_off"
    left = job(database)
    assert (left.status, left.crashes, left.lease_until) == ("queued", 0, None)
    assert kinds(database) == ["started", "drained"]
