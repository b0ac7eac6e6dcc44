"""Experiment tracking of a job over two attempts, the first of them killed: read back by each tracker's own library."""

from __future__ import annotations

import socket
import struct
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, text, update

from models.messages import EpochEnded
from service.jobs import lifecycle
from service.settings import Settings
from service.startup import CannotStart
from service.tables import Dataset, Epoch, Event, Job
from tests.support.jobs import add_jobs, claim_job, event_kinds
from workers.lease import fence
from workers.tracking import tracking
from workers.tracking.mlflow import name_tag
from workers.tracking.tracker import TrackedJob
from workers.work.training import JobAttempt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.database import Database

RECIPE = {"optimizer": {"kind": "adam", "beta2": 0.5}, "epochs": 4, "target": None}
METRICS = {
    "validation": {"accuracy": 0.9, "loss": 0.25, "confusion_matrix": [[1]]},
    "test": {"accuracy": 0.75, "loss": 0.5, "note": "x"},
}
DETAILS = {"team@1": "bio", "graft.job": "job_other", "mlflow.runName": "mine", "mlflow.user": "me", "a/../b": "c"}
SECONDS = 20.0


def begin(database: Database, settings: Settings) -> JobAttempt:
    """Claim and start the next attempt at the only job, as if the one before had lost its lease."""
    with database.writing() as session:
        session.execute(update(Job).values(lease_until=None, worker=None, recipe=RECIPE, details=DETAILS))
        session.execute(update(Dataset).values(pack="pack", index="index", digest="0" * 64))
    attempt = JobAttempt(database, settings, claim_job(database))
    attempt.fetch_inputs()
    with database.writing() as session:
        attempt.start(session, fence(session, attempt.claim))
    return attempt


def end_epoch(epoch: int, seconds: float = 2.0) -> EpochEnded:
    """Make an epoch whose metrics are told by its number."""
    return EpochEnded(
        epoch=epoch, view=0, train_loss=1 / epoch, train_accuracy=0.5, validation_loss=2 / epoch,
        validation_accuracy=1 - 1 / epoch, lr=0.125, seconds=seconds, cache_hits=3, cache_misses=4,
    )  # fmt: skip


def train(attempt: JobAttempt, *epochs: int, seconds: float = 2.0) -> None:
    """Record epochs as a child's events."""
    for epoch in epochs:
        lines = [end_epoch(epoch, seconds).model_dump_json().encode()]
        with attempt.database.writing() as session:
            assert not attempt.record(session, fence(session, attempt.claim), lines)
        attempt.confirm(lines)


def end(attempt: JobAttempt) -> None:
    """End the job well, and its attempt."""
    with attempt.database.writing() as session:
        lifecycle.succeed(session, fence(session, attempt.claim), stop_reason="epochs_done", metrics=METRICS)
    attempt.clean_up(is_over=True)


def succeed(attempt: JobAttempt) -> None:
    """End the job well, and wait until the trackers know."""
    end(attempt)
    tracking.wait_for_trackers(60.0)


def wait_until(is_so: Callable[[], Any]) -> None:
    """Wait until what a tracker's thread does is seen."""
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "the tracker was told nothing"
        time.sleep(0.05)


def run_twice(database: Database, settings: Settings, *, sent: Callable[[], Any]) -> None:
    """Train two epochs, wait until `sent()` is true, lose that attempt, and train the job to its end in another."""
    add_jobs(database, 1)
    train(begin(database, settings), 1, 2)
    wait_until(sent)
    again = begin(database, settings)
    train(again, 1, 2, 3, seconds=3.0)  # another worker is slower
    succeed(again)


def read_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read steps and values of the only event file of the job."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = (folder / "job_000").iterdir()
    read = EventAccumulator(str(file)).Reload()
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def read_log(content: bytes) -> list[bytes]:
    """Read the records of a file of Weights & Biases: 7 bytes, then a log in LevelDB's format."""
    records, at, part = [], 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:  # no room for a header in this block
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        part += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last piece of one
            records.append(part)
            part = b""
    return records


def test_tensorboard_shows_each_epoch_once(database: Database, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "board"
    settings = Settings(data=tmp_path / "data", tensorboard=folder)
    run_twice(database, settings, sent=lambda: any(folder.glob("job_000/events*")))
    (file,) = (folder / "job_000").iterdir()
    read = EventAccumulator(str(file)).Reload()
    scalars = read_scalars(folder)
    assert scalars["validation/loss"] == [(1, 2.0), (2, 1.0), (3, pytest.approx(2 / 3))]
    assert scalars["lr"] == [(1, 0.125), (2, 0.125), (3, 0.125)]
    assert scalars["result/test/accuracy"] == [(0, 0.75)]
    assert "result/test/note" not in scalars
    times = [event.wall_time for event in read.Scalars("lr")]
    assert [later - earlier for earlier, later in pairwise(times)] == [3.0, 3.0]
    assert "_hparams_/session_start_info" in read.summary_metadata


@pytest.mark.filterwarnings("ignore:The ``noload``:sqlalchemy.exc.SADeprecationWarning")
def test_mlflow_has_one_run_with_each_epoch_once(database: Database, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    url = f"sqlite:///{tmp_path / 'mlflow.sqlite'}"
    client = MlflowClient(url)
    settings = Settings(data=tmp_path / "data", mlflow_url=url)

    def runs() -> list[Any]:
        experiment = client.get_experiment_by_name("graft")
        return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))

    run_twice(database, settings, sent=lambda: runs() and "lr" in runs()[0].data.metrics)
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "job_000"
    assert run.data.params == {"optimizer.kind": "adam", "optimizer.beta2": "0.5", "epochs": "4"}
    tags = {name: value for name, value in run.data.tags.items() if name not in ("graft.dataset", "graft.backbone")}
    assert tags == {
        "graft.job": "job_000",
        "team_1": "bio",
        "mlflow.runName": "job_000",
        "metadata.mlflow.runName": "mine",
        "metadata.mlflow.user": "me",
        "a_.._b": "c",
    }
    losses = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "validation/loss")]
    assert sorted(losses) == [(1, 2.0), (2, 1.0), (3, 2 / 3)]
    assert run.data.metrics["result/test/accuracy"] == 0.75


def test_weights_and_biases_has_each_epoch(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

    monkeypatch.setenv("WANDB_MODE", "offline")  # its server cannot be run here: the file that it would be sent
    settings = Settings(data=tmp_path / "data", wandb="flowers")
    add_jobs(database, 1)
    attempt = begin(database, settings)
    train(attempt, 1, 2)
    succeed(attempt)
    (file,) = (settings.data / "wandb").rglob("*.wandb")
    records = [Record.FromString(content) for content in read_log(file.read_bytes())]
    history = [
        {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    assert [(int(row["_step"]), float(row["validation/loss"])) for row in history] == [(1, 2.0), (2, 1.0)]
    (run,) = [record.run for record in records if record.WhichOneof("record_type") == "run"][:1]
    assert (run.run_id, run.project) == ("job_000", "flowers")
    summary = {
        item.key: item.value_json
        for record in records
        if record.WhichOneof("record_type") == "summary"
        for item in record.summary.update
    }
    assert summary["result/test/accuracy"] == "0.75"


def test_a_job_is_ended_once(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where the end is seen with an epoch, and the attempt is closed after that."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    settings = Settings(data=tmp_path / "data", wandb="flowers")
    add_jobs(database, 1)
    attempt = begin(database, settings)
    train(attempt, 1)
    with database.writing() as session:
        lifecycle.succeed(session, fence(session, attempt.claim), stop_reason="epochs_done", metrics=METRICS)
    attempt._tracking.update()
    wait_until(lambda: list((settings.data / "wandb").rglob("*.wandb")))
    time.sleep(1.0)
    attempt.clean_up(is_over=True)
    tracking.wait_for_trackers(60.0)
    assert len(list((settings.data / "wandb").rglob("*.wandb"))) == 1


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
    """When the job is read, and when an error of the tracker is to be written down."""
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


def test_names_of_tags_are_such_as_mlflow_takes() -> None:
    from mlflow.utils.validation import _validate_tag

    for name in ("", ".", "..", "/", "a//b", "../a", "mlflow.", "é", "a\u3000b", "k" * 255, "mlflow." + "k" * 248):
        _validate_tag(name_tag(name), "")  # type: ignore[no-untyped-call]  # raises for others
    assert name_tag("team 1:a-b.c") == "team 1:a-b.c"


def test_without_a_tracker_no_thread_is_started(database: Database, settings: Settings) -> None:
    add_jobs(database, 1)
    before = set(threading.enumerate())
    attempt = begin(database, settings)
    train(attempt, 1)
    assert set(threading.enumerate()) <= before
    succeed(attempt)


def test_a_missing_package_is_said_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracking.PACKAGES, "wandb", "no_such_package")
    tracking.check_packages(Settings(data=tmp_path))
    with pytest.raises(CannotStart, match=r"GRAFT_WANDB needs the package no_such_package: pip install"):
        tracking.check_packages(Settings(data=tmp_path, wandb="flowers"))


def test_hyperparameters_and_results_are_flat() -> None:
    recipe = {"optimizer": {"kind": "adam", "none": None}, "sizes": [96, 128], "none": [], "more": {}, "on": True}
    job = TrackedJob("job_1", "a", "running", {}, recipe, METRICS, 0.0, None)
    assert job.hyperparameters == {"optimizer.kind": "adam", "sizes": "[96, 128]", "on": True}
    assert job.results == {
        "validation/accuracy": 0.9, "validation/loss": 0.25, "test/accuracy": 0.75, "test/loss": 0.5,
    }  # fmt: skip
