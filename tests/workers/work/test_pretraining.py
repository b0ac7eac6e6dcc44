"""Attempts at pretrainings: what a child saves is stored, another attempt goes on from it, and the bytes are equal."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from models.messages import ProgressSaved
from models.runtime.supervisor_callbacks import Context
from service.backbones import imports, listings, repository, snapshots
from service.settings import Settings
from service.storage import Storage
from service.tables import Backbone
from tests.support.backbones import build_listing
from tests.support.datasets import add_dataset
from tests.support.pretrainings import add_pretraining
from tests.support.small_job import CLASSES
from tests.support.small_pretraining import SmallPretraining, small_pretraining
from tests.support.uploads import list_import_events
from workers import scratch
from workers.entrypoints import pretraining as entrypoint
from workers.lease import Claim, claim, fence
from workers.supervisor import Supervisor
from workers.work.pretraining import PretrainingAttempt

if TYPE_CHECKING:
    from pathlib import Path

    from service.database import Database

METHOD = {"kind": "supervised", "epochs": 2, "batch_size": 8}


@pytest.fixture
def small(tmp_path: Path) -> SmallPretraining:
    """A pretraining of the same backbone on the same images, without a service."""
    return small_pretraining(tmp_path, **METHOD)


@pytest.fixture
def settings(small: SmallPretraining, database: Database, tmp_path: Path) -> Settings:
    """Settings of a worker that lists the backbone."""
    with database.writing() as session:
        listings.replace(session, "w", 60.0, [build_listing("local/small")])
    classes = [{"name": name, "count": 20} for name in CLASSES]
    add_dataset(database, id="ds_1", pack="small.pack", index="small.index", classes=classes, images=60)
    return Settings(
        data=tmp_path,
        database_url=database.url,
        storage_url=tmp_path.as_uri(),
        backbones=small.spec.local_backbones,
        device="cpu",
        snapshot_seconds=1e-6,
        max_crashes=2,
    )


def take(database: Database, worker: str = "w") -> Claim[Backbone] | None:
    with database.writing() as session:
        return claim(session, Backbone, "pretraining", "pretraining", worker, 60)


def run(database: Database, settings: Settings) -> Backbone:
    """Claim it and run an attempt; gives the row afterwards."""
    held = take(database)
    assert held is not None
    Supervisor(database, settings, held, PretrainingAttempt(database, settings, held), threading.Event()).run()
    assert not scratch.choose_folder(settings.scratch, held).exists()
    with database.reading() as session:
        return session.get_one(Backbone, held.id)


def stop_after(database: Database, settings: Settings, saved: int) -> None:
    """Run an attempt until it has stored `saved` snapshots; then it dies."""
    held = take(database)
    assert held is not None
    attempt = PretrainingAttempt(database, settings, held)
    attempt.fetch_inputs()
    with database.writing() as session:
        spec = attempt.start(session, fence(session, held))
    for event in entrypoint.work(spec, Context()):
        lines = [event.model_dump_json().encode()]
        attempt.prepare(lines)
        with database.writing() as session:
            attempt.record(session, fence(session, held), lines)
        attempt.confirm(lines)
        saved -= isinstance(event, ProgressSaved)
        if not saved:
            break
    with database.writing() as session:
        fence(session, held).lease_until = 1.0


def read_files(database: Database, settings: Settings, backbone: str) -> dict[str, bytes]:
    storage = Storage(settings.storage)
    with database.reading() as session:
        files = repository.find_files(session, backbone)
    return {name: storage.local_path(file["key"], settings.scratch).read_bytes() for name, file in files.items()}


def kinds(database: Database, backbone: str) -> list[str]:
    return [event.kind for event in list_import_events(database, backbone)]


def test_a_child_pretrains_it(database: Database, settings: Settings, small: SmallPretraining) -> None:
    small.run()
    backbone = add_pretraining(database, "ds_1", "local/small", method=METHOD)
    row = run(database, settings)
    assert (row.status, row.error, row.snapshot, row.worker) == ("ready", None, None, None)
    assert (row.architecture, row.licence, row.input_size) == ("test_resnet", "cc0-1.0", [3, 32, 32])
    assert row.pretraining is not None
    assert (row.pretraining["images"], len(row.pretraining["losses"])) == (42, 2)
    assert row.inspection is not None
    assert read_files(database, settings, backbone) == small.read_files()
    assert kinds(database, backbone) == ["queued", "started", "pretraining", "epoch", "epoch", "ready"]
    with database.reading() as session:
        named = imports.find_file_keys(session)
    in_storage = {
        str(file.relative_to(settings.data)) for file in (settings.data / "backbones" / backbone).rglob("*.*")
    }
    assert in_storage == named, "no snapshot is left"


def test_another_attempt_goes_on_from_the_snapshot(
    database: Database, settings: Settings, small: SmallPretraining
) -> None:
    small.run()
    backbone = add_pretraining(database, "ds_1", "local/small", method=METHOD)
    stop_after(database, settings, 3)
    with database.reading() as session:
        saved = snapshots.find(session, backbone)
        assert saved is not None
        assert imports.find_file_keys(session) == {saved.key}
    row = run(database, settings)
    assert row.status == "ready"
    assert read_files(database, settings, backbone) == small.read_files()
    assert {"crashed", "resumed_from_snapshot"} <= set(kinds(database, backbone))


@pytest.mark.extended
def test_a_damaged_snapshot_starts_it_over(database: Database, settings: Settings, small: SmallPretraining) -> None:
    small.run()
    backbone = add_pretraining(database, "ds_1", "local/small", method=METHOD)
    stop_after(database, settings, 2)
    with database.reading() as session:
        saved = snapshots.find(session, backbone)
    assert saved is not None
    (settings.data / saved.key).write_bytes(b"0")
    assert run(database, settings).status == "ready"
    assert read_files(database, settings, backbone) == small.read_files()
    assert "snapshot_damaged" in kinds(database, backbone)


def test_what_would_fail_again_fails_at_once(database: Database, settings: Settings) -> None:
    add_pretraining(database, "ds_1", "local/small", method={**METHOD, "lr": 1e30, "epochs": 20})
    row = run(database, settings)
    assert row.status == "failed"
    assert row.error is not None
    assert row.error["code"] == "training_diverged"
    assert "set method.lr to less than 1e+30" in row.error["message"]
    assert row.snapshot is None


def test_only_a_worker_that_has_the_source_claims_it(database: Database, settings: Settings) -> None:
    add_pretraining(database, "ds_1", "local/small", method=METHOD)
    assert take(database, "another") is None
    assert take(database) is not None


@pytest.mark.extended
def test_a_backbone_that_is_deleted_ends_its_attempt(database: Database, settings: Settings) -> None:
    backbone = add_pretraining(database, "ds_1", "local/small", method={**METHOD, "epochs": 1000})
    held = take(database)
    assert held is not None
    attempt = PretrainingAttempt(database, settings, held)
    thread = threading.Thread(target=Supervisor(database, settings, held, attempt, threading.Event()).run)
    thread.start()
    while "epoch" not in kinds(database, backbone):
        thread.join(0.1)
    with database.writing() as session:
        imports.delete(session, backbone)
    thread.join(60)
    assert not thread.is_alive()
    assert not scratch.choose_folder(settings.scratch, held).exists()
