"""Comparison of jobs: results side by side, differences of recipes, and whether the tests compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.tables import Job
from tests.support.requests import assert_problem, create_job

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from service.database import Database


def finish(database: Database, job: str, accuracy: float, digest: str | None) -> None:
    """Give a job its metrics."""
    test: dict[str, Any] = {"accuracy": accuracy, "loss": 0.5, "per_class": []}
    if digest is not None:
        test["images_digest"] = digest
    with database.writing() as session:
        session.get_one(Job, job).metrics = {"validation": {"accuracy": 0.5}, "test": test}


def test_jobs_stand_side_by_side(client: TestClient, db: Database, dataset: str) -> None:
    one = create_job(client, dataset, recipe={"epochs": 3})["id"]
    other = create_job(client, dataset, recipe={"epochs": 5, "optimizer": {"kind": "sgd"}}, name="n")["id"]
    finish(db, one, 0.8, "sha256:1")
    finish(db, other, 0.9, "sha256:1")
    body = client.get("/v1/jobs/compare", params={"ids": f"{other},{one}"}).json()
    assert [job["id"] for job in body["data"]] == [other, one]
    assert body["data"][0]["metrics"] == {"validation": {"accuracy": 0.5}, "test": {"accuracy": 0.9, "loss": 0.5}}
    assert body["same_test_images"] is True
    assert body["differences"]["epochs"] == [5, 3]
    assert body["differences"]["optimizer.kind"][0] == "sgd"
    assert "batch_size" not in body["differences"]


def test_tests_on_other_images_do_not_compare(client: TestClient, db: Database, dataset: str) -> None:
    ids = [create_job(client, dataset)["id"] for _ in range(3)]
    for job, digest in zip(ids, ("sha256:1", "sha256:2", None), strict=True):
        finish(db, job, 0.8, digest)
    for pair in (ids[:2], ids[1:]):
        body = client.get("/v1/jobs/compare", params={"ids": ",".join(pair)}).json()
        assert (body["same_test_images"], body["differences"]) == (False, {})


def test_what_is_wrong_is_named(client: TestClient, dataset: str) -> None:
    job = create_job(client, dataset)["id"]
    assert_problem(client.get("/v1/jobs/compare", params={"ids": f"{job},{job}"}), 422, "jobs_not_comparable", "1")
    assert_problem(client.get("/v1/jobs/compare", params={"ids": f"{job},job_x"}), 404, "job_not_found", "job_x")
    assert client.get("/v1/jobs/compare").status_code == 422
