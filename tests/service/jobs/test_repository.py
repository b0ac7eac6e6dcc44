"""Queries about jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.tables import Job
from tests.support.job_metrics import METRICS
from tests.support.requests import create_job

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from service.database import Database


def test_lists_leave_confusion_matrices_out(client: TestClient, dataset: str, db: Database) -> None:
    done, tiny, running = (create_job(client, dataset)["id"] for _ in range(3))
    names = ['"confusion_matrix": [[', "]]", "katze"]
    figures = {**METRICS, "per_class": [{**METRICS["per_class"][0], "class": name} for name in names]}
    both = {"validation": figures, "test": {**figures, "accuracy": 0.5}}
    rest = {"delivers": "best_epoch", "temperature": 1.5}
    with db.writing() as session:
        session.get_one(Job, done).metrics = {**both, **rest}
        session.get_one(Job, tiny).metrics = {**both, "test": None}
    listed = {job["id"]: job["metrics"] for job in client.get("/v1/jobs").json()["data"]}
    small = {split: {k: v for k, v in both[split].items() if k != "confusion_matrix"} for split in both}
    assert listed == {done: {**small, **rest}, tiny: {**small, "test": None}, running: None}
    assert client.get(f"/v1/jobs/{done}").json()["metrics"] == {**both, **rest}
