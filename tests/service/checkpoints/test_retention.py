"""Retention of checkpoints against its rules, one by one, on both databases."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from models.runtime.checkpoint_file import write
from service.checkpoints import blobs, repository, retention
from service.checkpoints.retention import DAY_SECONDS, Rules
from service.exports import repository as exports
from service.exports.options import ExportOptions
from service.models import repository as models
from service.storage import Storage
from service.tables import Checkpoint, Dataset, DeletedCheckpoint, Job, new_id, now
from service.wakeup import Queue
from tests.support.broken_database import listening
from tests.support.jobs import build_job
from tests.support.requests import assert_problem
from workers.maintenance import delete_expired, sweep

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi.testclient import TestClient

    from service.checkpoints.manifests import Manifest
    from service.database import Database
    from service.settings import Settings


@pytest.fixture
def storage(settings: Settings) -> Storage:
    """The storage of the application."""
    return Storage(settings.storage)


@pytest.fixture
def manifest(db: Database, tmp_path: Path) -> Manifest:
    """The stored contents of a checkpoint."""
    write(tmp_path / "a", {"head": torch.randn(3)}, {"trained_tensors": '["head"]'})
    return blobs.store(db, tmp_path / "a")


def add_dataset(database: Database) -> str:
    """Add a dataset; returns its id."""
    with database.writing() as session:
        row = Dataset(id=new_id("ds"), name="", status="ready", classes=[], images=0, digest="0" * 64)
        session.add(row)
        return row.id


def add_checkpoint(
    database: Database, manifest: Manifest, dataset: str, accuracy: float = 0.5, days: float = 0.0, images: str = "i"
) -> str:
    """Add the checkpoint of a job that has succeeded some days ago; returns its id."""
    with database.writing() as session:
        job = build_job(new_id("job"), "succeeded")
        job.dataset_id = dataset
        session.add(job)
        session.flush()
        test = {"accuracy": accuracy, "loss": 1.0, "images_digest": images}
        row = repository.publish(
            session, job_id=job.id, manifest=manifest, kind="best", epoch=1, metrics={"test": test}, classes=["a"]
        )
        session.flush()
        created_at = session.scalars(select(now())).one() - days * DAY_SECONDS
        session.execute(update(Checkpoint).where(Checkpoint.id == row.id).values(created_at=created_at))
        return row.id


def list_ids(database: Database) -> set[str]:
    with database.reading() as session:
        return set(session.scalars(select(Checkpoint.id)))


Choices = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.5, 0.7, 0.9]), st.integers(0, 20), st.sampled_from("ij")),
    max_size=9,
)
Number = st.none() | st.integers(1, 3)


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    choices=Choices, newest=Number, best=Number, days=st.none() | st.sampled_from([3.5, 10.5]), named=st.integers(0, 8)
)
def test_a_checkpoint_goes_if_no_rule_keeps_it_and_nothing_uses_it(
    db: Database,
    storage: Storage,
    manifest: Manifest,
    choices: list[tuple[int, float, int, str]],
    newest: int | None,
    best: int | None,
    days: float | None,
    named: int,
) -> None:
    datasets = [add_dataset(db), add_dataset(db)]
    rows = []
    for place, (which, accuracy, days_old, images) in enumerate(choices):
        # No two are of the same age, so that the newest are known.
        exact = days_old + place / 100
        rows.append(
            (add_checkpoint(db, manifest, datasets[which], accuracy, exact, images), which, accuracy, exact, images)
        )
    used = rows[named][0] if named < len(rows) else None
    with db.writing() as session:
        if used is not None:
            models.move(session, "flowers", used, created_by=None)
    rules = [Rules(newest, best, days, dataset=dataset) for dataset in datasets]
    expected = set()
    for one, which, accuracy, old, images in rows:
        same = [row for row in rows if row[1] == which]
        newer = sum(row[3] < old for row in same)
        better = sum((row[2], -row[3]) > (accuracy, -old) for row in same if row[4] == images)
        is_kept = one == used or not (newest or best or days)
        is_kept |= newest is not None and newer < newest
        is_kept |= best is not None and better < best
        is_kept |= days is not None and old <= days
        expected |= set() if is_kept else {one}
    before = list_ids(db)
    planned = [candidate.id for rule in rules for candidate in retention.plan(db, rule).deleted]
    assert set(planned) == expected
    assert list_ids(db) == before, "a plan deletes nothing"
    threads = [threading.Thread(target=retention.enforce, args=(db, storage, rule)) for rule in (*rules, *rules)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rule in rules:  # what two at once had locked for each other
        retention.enforce(db, storage, rule)
    assert before - list_ids(db) == expected
    with db.writing() as session:
        if used is not None:
            models.delete(session, "flowers", created_by=None)


def test_what_a_job_or_an_export_uses_stays_and_says_why(
    client: TestClient, db: Database, storage: Storage, manifest: Manifest
) -> None:
    dataset = add_dataset(db)
    parent, exported, free, _ = (add_checkpoint(db, manifest, dataset, days=9 - place) for place in range(4))
    with db.writing() as session:
        child = build_job("job_child", "paused", backbone=parent)
        child.dataset_id = dataset
        session.add(child)
        exports.request(session, exported, "hub", ExportOptions())
    dry = client.post("/v1/checkpoints/retention", json={"keep_newest": 1, "dataset": dataset}).json()
    assert (dry["dry_run"], dry["has_more"], [row["id"] for row in dry["data"]]) == (True, False, [free])
    reasons = {row["id"]: row["reason"] for row in dry["protected"]}
    assert reasons.keys() == {parent, exported}
    assert "job_child goes on" in reasons[parent]
    assert "an export" in reasons[exported]
    for one in (parent, exported):
        assert_problem(client.delete(f"/v1/checkpoints/{one}"), 409, "checkpoint_in_use", one)
    done = client.post(
        "/v1/checkpoints/retention", json={"keep_newest": 1, "dataset": dataset, "dry_run": False}
    ).json()
    assert {**done, "dry_run": True} == dry
    assert_problem(client.get(f"/v1/checkpoints/{free}"), 404, "checkpoint_not_found", "was deleted")
    with db.writing() as session:
        session.execute(update(Job).where(Job.id == "job_child").values(status="cancelled"))
    again = retention.enforce(db, storage, Rules(newest=1, dataset=dataset))
    assert [candidate.id for candidate in again.deleted] == [parent]


def test_an_export_goes_with_its_file(db: Database, storage: Storage, manifest: Manifest) -> None:
    dataset = add_dataset(db)
    old, _ = (add_checkpoint(db, manifest, dataset, days=9 - place) for place in range(2))
    with storage.writing("exports/exp_1/file") as file:
        file.write(b"x")
    with db.writing() as session:
        export = exports.request(session, old, "hub", ExportOptions())
        exports.accept(session, export, file="exports/exp_1/file", size=1, digest="0" * 64, report={})
    retention.enforce(db, storage, Rules(newest=1, dataset=dataset))
    assert old not in list_ids(db)
    assert storage.list_old_files("exports", -60) == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "say what is kept"),
        ({"dry_run": False}, "say what is kept"),
        ({"keep_newest": 0}, "greater than or equal to 1"),
        ({"keep_days": -1}, "greater than 0"),
        ({"keep_newst": 1}, "keep_newst"),
        ({"keep_newest": 1, "dry_run": "no"}, "valid boolean"),
        ({"keep_newest": 1, "dry_run": 0}, "valid boolean"),
    ],
)
def test_a_request_without_a_rule_or_with_a_wrong_one_deletes_nothing(
    client: TestClient, rows: Any, body: dict[str, Any], says: str
) -> None:
    before = rows()
    assert_problem(client.post("/v1/checkpoints/retention", json=body), 422, "invalid_request", says)
    assert rows() == before


@pytest.mark.parametrize(("field", "code"), [("dataset", "dataset_not_found"), ("job", "job_not_found")])
def test_a_request_about_what_is_unknown_is_told_so(client: TestClient, rows: Any, field: str, code: str) -> None:
    before = rows()
    for dry_run in (True, False):
        body = {"keep_days": 0.001, field: "unknown", "dry_run": dry_run}
        assert_problem(client.post("/v1/checkpoints/retention", json=body), 404, code, "unknown")
    assert rows() == before


def test_thousands_of_checkpoints_are_looked_through_by_a_few_statements_that_read_what_the_rules_need(
    db: Database, storage: Storage, manifest: Manifest
) -> None:
    datasets = [add_dataset(db) for _ in range(3)]
    first = [add_checkpoint(db, manifest, dataset, accuracy=1.0, days=30) for dataset in datasets]
    with db.writing() as session:
        for one in first:
            columns = {column.name: column for column in Checkpoint.__table__.columns}
            row = dict(session.execute(select(*columns.values()).where(Checkpoint.id == one)).mappings().one())
            accuracies = [{"test": {"accuracy": place / 2000, "images_digest": "i"}} for place in range(1200)]
            copies = [{**row, "id": new_id("ckpt"), "packed_metrics": metrics} for metrics in accuracies]
            for age, copy in enumerate(copies):
                copy["created_at"] = row["created_at"] + age
            session.execute(insert(Checkpoint.__table__), copies)
    statements: list[str] = []
    with listening(db, "before_cursor_execute", lambda *given: statements.append(given[2])):
        planned = retention.plan(db, Rules(newest=1150))
        assert (len(planned.deleted), planned.has_more) == (3 * 51, False)
        assert len(statements) < 10
        assert not any("packed_metrics" in text or "header" in text for text in statements)
        statements.clear()
        planned = retention.plan(db, Rules(newest=2, best=3))
        assert (len(planned.deleted), planned.has_more) == (retention.MOST_AT_ONCE, True)
        assert len(statements) < 25
        assert sum("packed_metrics" in text for text in statements) == 1
        assert not any("header" in text for text in statements)
        statements.clear()
        assert retention.plan(db, Rules(newest=1300, best=3)).deleted == []
        assert not any("packed_metrics" in text for text in statements), "nothing would go, so that none is compared"
    assert set(first).isdisjoint(candidate.id for candidate in planned.deleted), "the oldest are the most accurate"


def test_the_sweep_deletes_what_the_settings_do_not_keep(
    db: Database, storage: Storage, manifest: Manifest, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST_AT_ONCE", 2)
    dataset = add_dataset(db)
    added = [add_checkpoint(db, manifest, dataset, accuracy=0.9 - place / 10, days=9 - place) for place in range(8)]
    delete_expired(db, storage, settings)
    assert list_ids(db) == set(added), "no setting deletes none"
    delete_expired(db, storage, settings.model_copy(update={"keep_newest": 2, "keep_best": 1}))
    assert list_ids(db) == {added[0], added[6], added[7]}
    sweep(db, Queue(""))
    with db.reading() as session:
        assert len(list(blobs.read(db, session.get_one(Checkpoint, added[0]), 0, manifest.bytes))) > 0


def test_lineage_remembers_what_was_deleted(
    client: TestClient, db: Database, storage: Storage, manifest: Manifest
) -> None:
    dataset = add_dataset(db)
    first = add_checkpoint(db, manifest, dataset, days=5)
    second = add_checkpoint(db, manifest, dataset)
    with db.writing() as session:
        job = session.get_one(Checkpoint, second).job_id
        session.execute(update(Job).where(Job.id == job).values(backbone=first))
    retention.enforce(db, storage, Rules(newest=1, dataset=dataset), deleted_by="key_1")
    _, deleted = client.get(f"/v1/checkpoints/{second}/lineage").json()["ancestors"]
    with db.reading() as session:
        row = session.get_one(DeletedCheckpoint, first)
    assert (deleted["checkpoint"], deleted["job"], deleted["backbone"]) == (first, row.job_id, "hf/some/net")
    assert (deleted["dataset"], deleted["dataset_digest"]) == (dataset, f"sha256:{'0' * 64}")
    assert deleted["deleted_at"] is not None
    assert row.deleted_by == "key_1"
    assert client.delete(f"/v1/jobs/{row.job_id}").status_code == 204
    assert client.get(f"/v1/checkpoints/{second}/lineage").json()["ancestors"][1] == deleted
