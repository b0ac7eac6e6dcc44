"""Lineage of checkpoints: the chain before them, and what came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from sqlalchemy import update

from models.runtime.checkpoint_file import write
from service.checkpoints import blobs, repository
from service.models import repository as models
from service.tables import DeletedCheckpoint, Job
from tests.support.datasets import add_dataset
from tests.support.requests import BACKBONE, assert_problem, create_job

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi.testclient import TestClient

    from service.database import Database

ORIGIN = ("deleted_at", "job", "dataset", "dataset_digest", "backbone")


def add_result(database: Database, folder: Path, job: str) -> str:
    """Add the checkpoint of a job that succeeds; returns its id."""
    write(folder / "a", {"head": torch.randn(3)}, {})
    manifest = blobs.store(database, folder / "a")
    with database.writing() as session:
        session.execute(update(Job).where(Job.id == job).values(status="succeeded"))
        return repository.publish(
            session, job_id=job, manifest=manifest, kind="best", epoch=1, metrics={}, classes=["a"]
        ).id


def test_the_chain_and_what_came_of_it(client: TestClient, db: Database, tmp_path: Path) -> None:
    dataset, other = add_dataset(db), add_dataset(db, digest="1" * 64)
    first_job = create_job(client, dataset)["id"]
    first = add_result(db, tmp_path, first_job)
    second_job = create_job(client, other, backbone=first)["id"]
    second = add_result(db, tmp_path, second_job)
    third_job = create_job(client, dataset, backbone=second)["id"]
    with db.writing() as session:
        models.move(session, "flowers", second, created_by=None)
    body = client.get(f"/v1/checkpoints/{second}/lineage").json()
    assert (body["id"], body["models"], body["child_jobs"]) == (second, ["flowers"], [third_job])
    assert body["ancestors"] == [
        {
            "checkpoint": second,
            "deleted_at": None,
            "job": second_job,
            "dataset": other,
            "dataset_digest": f"sha256:{'1' * 64}",
            "backbone": first,
        },
        {
            "checkpoint": first,
            "deleted_at": None,
            "job": first_job,
            "dataset": dataset,
            "dataset_digest": f"sha256:{'0' * 64}",
            "backbone": BACKBONE,
        },
    ]
    assert client.delete(f"/v1/checkpoints/{first}").status_code == 204
    gone = client.get(f"/v1/checkpoints/{second}/lineage").json()["ancestors"][1]
    assert gone == {**body["ancestors"][1], "deleted_at": gone["deleted_at"]}, "as it was before"
    assert gone["deleted_at"] is not None
    with db.writing() as session:
        session.delete(session.get_one(DeletedCheckpoint, first))
    older = client.get(f"/v1/checkpoints/{second}/lineage").json()["ancestors"][1]
    assert older == {"checkpoint": first, **dict.fromkeys(ORIGIN)}, "as an earlier release deleted it"
    assert_problem(client.get(f"/v1/checkpoints/{first}/lineage"), 404, "checkpoint_not_found")
