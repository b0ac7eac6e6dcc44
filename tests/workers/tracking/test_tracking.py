"""Experiment tracking of a job over two attempts, the first of them killed: read back by each tracker's own library."""

from __future__ import annotations

import struct
import threading
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from service.jobs import lifecycle
from service.settings import Settings
from service.startup import CannotStart
from tests.support.jobs import add_jobs
from tests.support.tracked_jobs import METRICS, begin, read_scalars, run_twice, succeed, train, wait_until
from workers.lease import fence
from workers.tracking import tracking
from workers.tracking.mlflow import name_tag
from workers.tracking.tracker import TrackedJob

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database


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
