"""Experiment tracking where a tracker or the database does not answer: a job loses nothing, its results arrive."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text

from service.settings import Settings
from service.tables import Epoch, Event
from tests.support.jobs import add_jobs, event_kinds
from tests.support.tracked_jobs import begin, end, end_epoch, read_scalars, succeed, train, wait_until
from workers.tracking import tracking

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database


def test_a_tracker_that_cannot_be_written_to_costs_the_job_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "RETRY_SECONDS", (0.1,))
    (tmp_path / "file").touch()
    settings = Settings(data=tmp_path / "data", tensorboard=tmp_path / "file")
    add_jobs(database, 1)
    attempt = begin(database, settings)
    train(attempt, 1)
    wait_until(lambda: "tracking_failed" in event_kinds(database))
    train(attempt, 2)
    succeed(attempt)
    assert event_kinds(database).count("tracking_failed") == 1
    assert event_kinds(database)[-1] == "succeeded"


def test_results_that_a_tracker_does_not_take_at_once_are_sent_again(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking, "RETRY_SECONDS", (0.1,) * 200)
    (tmp_path / "board").touch()
    add_jobs(database, 1)
    attempt = begin(database, Settings(data=tmp_path / "data", tensorboard=tmp_path / "board"))
    train(attempt, 1)
    wait_until(lambda: "does not take" in caplog.text)
    caplog.clear()
    end(attempt)
    wait_until(lambda: "does not take" in caplog.text)
    (tmp_path / "board").unlink()
    tracking.wait_for_trackers(60.0)
    scalars = read_scalars(tmp_path / "board")
    assert (scalars["lr"], scalars["result/test/accuracy"]) == ([(1, 0.125)], [(0, 0.75)])


@pytest.mark.parametrize("table", ["jobs", "events"])
def test_a_database_that_is_away_for_a_moment_ends_no_tracking(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture, table: str
) -> None:
    """Neither while the job is read, nor while an error of the tracker is written down."""
    (tmp_path / "board").touch()
    add_jobs(database, 1)
    attempt = begin(database, Settings(data=tmp_path / "data", tensorboard=tmp_path / "board"))
    with database.writing() as session:
        session.add(Epoch(job_id="job_000", **end_epoch(1).model_dump(exclude={"event"})))
    with database.writing() as session:
        session.execute(text(f"ALTER TABLE {table} RENAME TO away"))
    attempt._tracking.update()
    wait_until(lambda: "the database does not answer" in caplog.text)
    assert "UPDATE" not in caplog.text
    assert "SELECT" not in caplog.text
    with database.writing() as session:
        session.execute(text(f"ALTER TABLE away RENAME TO {table}"))
    attempt._tracking.update()
    wait_until(lambda: "tracking_failed" in event_kinds(database))
    (tmp_path / "board").unlink()
    succeed(attempt)
    assert read_scalars(tmp_path / "board")["result/test/accuracy"] == [(0, 0.75)]


def test_an_attempt_that_has_lost_its_job_tells_nothing(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "board"
    settings = Settings(data=tmp_path / "data", tensorboard=folder)
    add_jobs(database, 1)
    first, again = begin(database, settings), begin(database, settings)
    train(again, 1)
    wait_until(lambda: any(folder.glob("job_000/events*")))
    first.clean_up(is_over=False)
    tracking.wait_for_trackers(60.0)
    succeed(again)
    assert read_scalars(folder)["result/test/accuracy"] == [(0, 0.75)]


def test_a_password_in_the_address_of_mlflow_is_told_to_nobody(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = Settings(data=tmp_path / "data", mlflow_url=f"http://somebody:s3cr%40et@127.0.0.1:{port}")
    add_jobs(database, 1)
    attempt = begin(database, settings)
    train(attempt, 1)
    wait_until(lambda: "tracking_failed" in event_kinds(database))
    with database.reading() as session:
        (message,) = session.scalars(select(Event.message).where(Event.kind == "tracking_failed"))
    assert f"127.0.0.1:{port}" in message
    for told in (message, caplog.text):
        assert "s3cr" not in told
        assert "somebody" not in told


def test_a_tracker_that_does_not_answer_delays_no_worker_that_stops(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "RETRY_SECONDS", ())
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = Settings(data=tmp_path / "data", mlflow_url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        add_jobs(database, 1)
        attempt = begin(database, settings)
        end(attempt)
        tracking.wait_for_trackers(0.1)
        assert "MLflow of job_000 does not answer" in caplog.text
    tracking.wait_for_trackers(60.0)  # the connection is closed
