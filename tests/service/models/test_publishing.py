"""Publishing: the checkpoint of a job gets its name always, or if it is better on the same test images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from models.runtime.checkpoint_file import write
from service.checkpoints import blobs
from service.checkpoints import repository as checkpoints
from service.jobs import repository as jobs
from service.models import publishing, repository
from service.tables import Job
from tests.support.checkpoints import JOB, add_job
from tests.support.requests import build_job_request, create_job

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi.testclient import TestClient

    from service.database import Database


def finish(database: Database, folder: Path, test: dict[str, Any] | None, when: str = "if_better") -> str:
    """Publish a checkpoint with these test metrics as a worker does when a job succeeds; returns its id."""
    add_job(database)
    write(folder / "a", {"head": torch.randn(3)}, {})
    manifest = blobs.store(database, folder / "a")
    with database.writing() as session:
        job = jobs.get(session, JOB, lock=True)
        job.publish = {"name": "flowers", "when": when}
        metrics = {"validation": {}, "test": test}
        checkpoint = checkpoints.publish(
            session, job_id=JOB, manifest=manifest, kind="best", epoch=1, metrics=metrics, classes=["a"]
        )
        publishing.publish(session, job, checkpoint)
        return checkpoint.id


def read(database: Database) -> tuple[str, str, str]:
    """Read what the name points at, and the kind and the message of the last event."""
    with database.reading() as session:
        last = jobs.find_events(session, JOB, 0, 100)[-1]
        return repository.find_checkpoint(session, "flowers").id, last.kind, last.message


def measured(accuracy: float, loss: float = 0.5, digest: str = "sha256:1", name: str = "accuracy") -> dict[str, Any]:
    """Build test metrics."""
    return {name: accuracy, "loss": loss, "images_digest": digest}


@pytest.mark.parametrize("when", ["always", "if_better"])
def test_a_new_name_is_made(database: Database, tmp_path: Path, when: str) -> None:
    first = finish(database, tmp_path, None, when)
    assert read(database) == (first, "published", "Published as flowers")


@pytest.mark.parametrize("better", [measured(0.9), measured(0.8, loss=0.4)], ids=["more accurate", "of less loss"])
def test_a_better_one_takes_the_name(database: Database, tmp_path: Path, better: dict[str, Any]) -> None:
    first = finish(database, tmp_path, measured(0.8))
    second = finish(database, tmp_path, better)
    assert read(database) == (second, "published", f"Published as flowers in place of {first}")
    with database.reading() as session:
        moves = repository.find_moves(session, "flowers", after=0, limit=9)
        assert [(move.checkpoint, move.job) for move in moves] == [(first, JOB), (second, JOB)]


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (measured(0.8), measured(0.8), "on the same test images its accuracy is 80.00%"),
        (measured(0.8), measured(0.7, loss=0.1), "its accuracy is 70.00%, and that of the other 80.00%"),
        (measured(0.8), measured(0.9, digest="sha256:2"), "tested on other images"),
        ({"accuracy": 0.1, "loss": 1.0}, measured(0.9), "of an earlier release"),
        (None, measured(0.9), "that checkpoint has no test images"),
        (measured(0.1), None, "this job has no test images"),
        (measured(0.8, name="map"), measured(0.7, name="map"), "its mean average precision is 70.00%"),
    ],
)
def test_the_name_stays_where_the_new_one_is_not_known_to_be_better(
    database: Database, tmp_path: Path, before: dict[str, Any] | None, after: dict[str, Any] | None, reason: str
) -> None:
    first = finish(database, tmp_path, before)
    finish(database, tmp_path, after)
    target, kind, message = read(database)
    assert (target, kind) == (first, "not_published")
    assert message.startswith(f"Not published as flowers, which stays at {first}: ")
    assert reason in message


def test_always_asks_nothing(database: Database, tmp_path: Path) -> None:
    finish(database, tmp_path, measured(0.8), "always")
    second = finish(database, tmp_path, measured(0.1, digest="sha256:2"), "always")
    assert read(database)[:2] == (second, "published")


def test_a_job_takes_a_name_or_a_name_with_a_condition(client: TestClient, db: Database, dataset: str) -> None:
    assert create_job(client, dataset)["publish"] is None
    job = create_job(client, dataset, publish="flowers")
    assert job["publish"] == {"name": "flowers", "when": "always"}
    job = create_job(client, dataset, publish={"name": "flowers", "when": "if_better"})
    with db.reading() as session:
        assert session.get_one(Job, job["id"]).publish == {"name": "flowers", "when": "if_better"}
    for bad in ("ckpt_1", "a b", {"name": "a", "when": "later"}, {}):
        assert client.post("/v1/jobs", json=build_job_request(dataset, publish=bad)).status_code == 422
