"""Periodic maintenance, on both databases."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import select, text

from service.backbones import imports
from service.batch_predictions import repository as batch_predictions
from service.cache import repository as cache
from service.jobs import snapshots
from service.statuses import WorkStatus
from service.storage import Storage
from service.tables import Backbone, BatchPart, Dataset, IdempotencyKey, Job
from service.wakeup import Queue
from tests.support.jobs import add_jobs, build_prediction, build_recommendation, claim_job, read_job
from tests.support.uploads import add_upload, list_import_events
from workers.maintenance import GRACE_SECONDS, remove_orphans, sweep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.database import Database
    from service.table_base import QueuedWork


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """Storage in a temporary folder."""
    return Storage((tmp_path / "storage").as_uri())


@pytest.mark.parametrize(("requested_state", "end"), [("cancelling", "cancelled"), ("pausing", "paused")])
def test_a_job_whose_worker_died_while_cancelling_or_pausing_is_ended_or_paused(
    database: Database, requested_state: str, end: str
) -> None:
    add_jobs(database, 2)
    dead, alive = claim_job(database, "dead", seconds=0.0), claim_job(database, "alive")
    if alive.id == dead.id:  # the lease of no time had run out already
        alive = claim_job(database, "other")
    with database.writing() as session:
        session.execute(text("UPDATE jobs SET status = :state"), {"state": requested_state})
        session.execute(text("UPDATE jobs SET lease_until = 1 WHERE id = 'job_000'"))
    sweep(database, Queue(""))
    assert (read_job(database, "job_000").status, read_job(database, "job_001").status) == (end, requested_state)


def test_files_that_no_dataset_names_are_removed(database: Database, storage: Storage, tmp_path: Path) -> None:
    with database.writing() as session:
        session.add(
            Dataset(id="ds_1", name="", status="validating", archive="datasets/ds_1/archive", classes=[], images=0)
        )
        session.add(Dataset(id="ds_2", name="", status="ready", pack="datasets/ds_2/pack.2", classes=[], images=0))
        session.add(
            Dataset(id="ds_5", name="", status="ready", skipped="datasets/ds_5/skipped.1", classes=[], images=0)
        )
    old = ["ds_1/archive", "ds_1/pack.1", "ds_2/pack.1.X.part", "ds_2/pack.2", "ds_3/archive.X.part", "ds_5/skipped.1"]
    for name in (*old, "ds_4/archive.X.part"):
        path = tmp_path / "storage" / "datasets" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        if name in old:
            os.utime(path, (0, 0))
    remove_orphans(database, storage, GRACE_SECONDS)
    left = {str(path.relative_to(tmp_path / "storage/datasets")) for path in (tmp_path / "storage").rglob("*")}
    kept = {"ds_1", "ds_1/archive", "ds_2", "ds_2/pack.2", "ds_4", "ds_4/archive.X.part", "ds_5", "ds_5/skipped.1"}
    assert left == {"."} | kept


def test_snapshots_that_no_job_names_are_removed(database: Database, storage: Storage, tmp_path: Path) -> None:
    add_jobs(database, 1)
    for number, named in ((1, False), (2, True)):
        key = snapshots.make_key("job_000", 1, number)
        with storage.writing(key) as file:
            file.write(b"x")
        if named:
            with database.writing() as session:
                snapshots.replace(session, "job_000", key=key, size=1, digest="0" * 64, epoch=1)
    remove_orphans(database, storage, GRACE_SECONDS)
    assert len(list((tmp_path / "storage/jobs/job_000").iterdir())) == 2, "one may be about to be named"
    remove_orphans(database, storage, -GRACE_SECONDS)
    assert [path.name for path in (tmp_path / "storage/jobs/job_000").iterdir()] == ["snapshot.1.2.safetensors"]


@pytest.mark.parametrize("build", [build_prediction, build_recommendation])
def test_queued_work_whose_worker_died_while_cancelling_is_cancelled(
    database: Database, build: Callable[..., QueuedWork]
) -> None:
    rows = [build(name, WorkStatus.CANCELLING, lease_until=lease) for name, lease in (("x_1", 1.0), ("x_2", 1e12))]
    ids = [(type(row), row.id) for row in rows]
    with database.writing() as session:
        session.add_all(rows)
    sweep(database, Queue(""))
    with database.reading() as session:
        assert [session.get_one(*each).status for each in ids] == ["cancelled", "cancelling"]


def test_files_that_no_batch_prediction_names_are_removed(database: Database, storage: Storage, tmp_path: Path) -> None:
    folder = batch_predictions.get_folder("pred_1")
    for name in ("part", "results.csv", "orphan"):
        with storage.writing(f"{folder}/{name}") as file:
            file.write(b"x")
    with database.writing() as session:
        files = {"csv": {"key": f"{folder}/results.csv", "bytes": 1, "digest": "0" * 64}}
        session.add(build_prediction("pred_1", WorkStatus.RUNNING, files=files))
        session.flush()
        session.add(BatchPart(prediction_id="pred_1", first=0, images=1, errors=0, key=f"{folder}/part", digest=""))
    remove_orphans(database, storage, -GRACE_SECONDS)
    assert sorted(path.name for path in (tmp_path / "storage" / folder).iterdir()) == ["part", "results.csv"]


def test_files_that_no_uploaded_backbone_names_are_removed(
    database: Database, storage: Storage, tmp_path: Path
) -> None:
    folder = tmp_path / "storage"
    waiting, ready = (add_upload(database, str(folder), b"x", samples=b"y") for _ in range(2))
    with database.writing() as session:
        row = session.get_one(Backbone, ready)
        named = {"config.json": {"key": f"backbones/{ready}/2/config.json", "bytes": 1, "digest": ""}}
        imports.accept(session, row, summary={}, files=named, inspection={}, report={})
    for key in (f"backbones/{ready}/1/config.json", f"backbones/{ready}/2/config.json", "backbones/bb_gone/upload"):
        with storage.writing(key) as file:
            file.write(b"x")
    remove_orphans(database, storage, -GRACE_SECONDS)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        f"backbones/{waiting}/upload",
        f"backbones/{waiting}/samples",
        f"backbones/{ready}/2/config.json",
    }


def test_an_upload_that_nobody_answers_for_is_dropped_after_a_week(database: Database, tmp_path: Path) -> None:
    backbone = add_upload(database, str(tmp_path / "storage"), b"x")
    with database.writing() as session:
        imports.reject(session, session.get_one(Backbone, backbone), "preprocessing_needed", "Say mean.", None)
    sweep(database, Queue(""))
    with database.writing() as session:
        assert session.get_one(Backbone, backbone).upload is not None
        session.get_one(Backbone, backbone).finished_at = 1.0
    sweep(database, Queue(""))
    with database.reading() as session:
        assert session.get_one(Backbone, backbone).upload is None
    assert [event.kind for event in list_import_events(database, backbone)][-1] == "upload_dropped"


def test_caches_without_workers_are_forgotten(database: Database) -> None:
    with database.writing() as session:
        for host in ("here", "gone"):
            cache.report(session, host, host=host, folder="/cache", size=1, budget=1)
        session.execute(text("UPDATE caches SET reported_at = 1 WHERE id = 'gone'"))
    sweep(database, Queue(""))
    with database.reading() as session:
        assert [row.id for row in cache.find_all(session)] == ["here"]


def test_old_keys_are_forgotten(database: Database) -> None:
    with database.writing() as session:
        for name, age in (("old", 8), ("new", 6)):
            session.add(IdempotencyKey(key=name, request="r", resource="x", created_at=age))
        session.flush()
        session.execute(text("UPDATE idempotency_keys SET created_at = :t WHERE key = 'old'"), {"t": 0.0})
        session.execute(text("UPDATE idempotency_keys SET created_at = :t WHERE key = 'new'"), {"t": 9e9})
    sweep(database, Queue(""))
    with database.reading() as session:
        assert session.scalars(select(IdempotencyKey.key)).all() == ["new"]


def test_a_broker_that_is_away_is_no_error(database: Database) -> None:
    add_jobs(database, 1)
    sweep(database, Queue("redis://127.0.0.1:9/0"))
    with database.reading() as session:
        assert session.scalars(select(Job.status)).all() == ["queued"]
