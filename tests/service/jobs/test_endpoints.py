"""HTTP of jobs: a refused request writes nothing, an accepted one is kept."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from service import idempotency
from service.backbones import listings
from service.jobs import repository
from service.statuses import JobStatus
from service.tables import Epoch
from tests.support.backbones import build_listing
from tests.support.datasets import add_dataset
from tests.support.jobs import add_events, set_status
from tests.support.requests import BACKBONE, assert_problem, build_job_request, create_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient

    from service.database import Database


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        ({"dataset": "ds_none"}, "dataset_unknown", ["ds_none", "POST /v1/datasets"]),
        ({"backbone": "timm/resnet81.a1_in1k"}, "backbone_unknown", ["Did you mean timm/resnet18.a1_in1k"]),
        ({"backbone": "zzz"}, "backbone_unknown", ["GET /v1/backbones"]),
        ({"recipe": {"optimizer": {"kind": "none"}}}, "invalid_request", ["recipe.optimizer", "'adam'"]),
        ({"recipe": {"epochs": -1}}, "invalid_request", ["recipe.epochs", "greater than or equal to 1"]),
        ({"recipe": {"epoch": 1}}, "invalid_request", ["recipe.epoch", "not permitted"]),
        ({"webhook": "x"}, "invalid_request", ["webhook"]),
        ({"metadata": {"k": "v" * 300}}, "invalid_request", ["metadata"]),
        ({"metadata": {"k": "a\0b"}}, "invalid_request", ["metadata.k"]),
        ({"metadata": {"k\n": "a"}}, "invalid_request", ["metadata"]),
        ({"metadata": {'k"': "a"}}, "invalid_request", ['metadata.k"']),
        ({"metadata": {"k\\": "a"}}, "invalid_request", ["metadata.k\\"]),
        ({"metadata": {"[k]": 3}}, "invalid_request", ["metadata.[k]: Input should be a valid string"]),
        ({"name": "a\0"}, "invalid_request", ["name"]),
        ({"backbone": "hf/a/" + "b" * 300}, "invalid_request", ["backbone", "255"]),
        ({"backbone": "a\ud800"}, "invalid_request", ["backbone"]),
        ({"dataset": "a\0"}, "invalid_request", ["dataset"]),
        ({"recipe": {"optimizer": {"kind": "adam", "lr": 1e999}}}, "invalid_request", ["lr", "finite"]),
        (
            {"recipe": {"augmentations": "crop"}},
            "invalid_request",
            ["recipe.augmentations: Input should be a valid list"],
        ),
        ({"recipe": {"head": {"kind": "mlp", "hidden": [True]}}}, "invalid_request", ["recipe.head.mlp.hidden.0: "]),
        ({"recipe": {"head": {"kind": "mlp", "hidden": [12000, 12000]}}}, "invalid_request", ["144,000,000 weights"]),
        ({"recipe": {"cut": "none", "cache": "on"}}, "invalid_request", ["recipe: cut: none leaves nothing"]),
        ({"backbone": "hf/" + "a" * 97 + "/b"}, "backbone_unknown", ["hf/aaa"]),
        ({"backbone": "hf/../.."}, "backbone_unknown", ["hf/../.."]),
        ({"recipe": {"loss": {"class_weights": {"owl": 2}}}}, "class_unknown", ["owl", "cat, dog"]),
    ],
)
def test_a_refused_job_writes_nothing(
    client: TestClient,
    dataset: str,
    rows: Callable[[], dict[str, int]],
    more: dict[str, Any],
    code: str,
    says: list[str],
) -> None:
    before = rows()
    # As Python's json writes what is no JSON, or no UTF-8: Infinity, and escaped halves of surrogate pairs.
    body = json.dumps({**build_job_request(dataset), **more})
    headers = {"content-type": "application/json"}
    assert_problem(client.post("/v1/jobs", content=body, headers=headers), 422, code, *says)
    assert rows() == before


@pytest.mark.parametrize(
    ("status", "columns", "code", "says"),
    [
        ("validating", {}, "dataset_not_ready", "still being validated"),
        ("failed", {}, "dataset_not_ready", "The only class is cat."),
    ],
)
def test_a_dataset_that_cannot_be_trained_on_is_refused(
    client: TestClient,
    db: Database,
    rows: Callable[[], dict[str, int]],
    status: str,
    columns: dict[str, Any],
    code: str,
    says: str,
) -> None:
    dataset = add_dataset(db, status, **columns)
    before = rows()
    assert_problem(client.post("/v1/jobs", json=build_job_request(dataset)), 422, code, says)
    assert rows() == before


def test_malformed_json_is_refused(client: TestClient) -> None:
    assert_problem(
        client.post("/v1/jobs", content=b"{", headers={"content-type": "application/json"}), 422, "invalid_request"
    )


def test_a_job_is_queued_with_all_its_fields(client: TestClient, dataset: str) -> None:
    job = create_job(client, dataset, name="first", metadata={"team": "a"}, recipe={"epochs": 3})
    assert (job["status"], job["queue_position"], job["attempt"]) == ("queued", 1, 0)
    assert job["recipe"]["epochs"] == 3
    assert job["recipe"]["optimizer"]["kind"] == "adam"
    assert job["metadata"] == {"team": "a"}
    assert job["created_at"].endswith("Z")
    assert client.get(f"/v1/jobs/{job['id']}").json() == job
    assert create_job(client, dataset)["queue_position"] == 2


def test_repeating_an_idempotency_key_creates_one_job(
    client: TestClient, dataset: str, rows: Callable[[], dict[str, int]]
) -> None:
    key = {"Idempotency-Key": "k1"}
    first = client.post("/v1/jobs", json=build_job_request(dataset), headers=key).json()
    again = client.post("/v1/jobs", json=build_job_request(dataset), headers=key)
    assert (again.status_code, again.json()["id"]) == (202, first["id"])
    other = client.post("/v1/jobs", json=build_job_request(dataset, name="other"), headers=key)
    assert_problem(other, 422, "idempotency_key_reused", "Send a new key")
    assert rows()["jobs"] == 1
    client.post(f"/v1/jobs/{first['id']}/cancel")
    client.delete(f"/v1/jobs/{first['id']}")
    assert_problem(
        client.post("/v1/jobs", json=build_job_request(dataset), headers=key),
        409,
        "idempotency_key_spent",
        "Send a new key",
    )


def test_a_request_is_told_by_its_bytes_not_by_what_they_mean_to_this_version(
    client: TestClient, dataset: str, db: Database
) -> None:
    """A retry across an upgrade, which gives fields and defaults that the first try did not know."""
    job = create_job(client, dataset)["id"]
    body = json.dumps(build_job_request(dataset, recipe={"epochs": 3})).encode()
    with db.writing() as session:
        idempotency.remember(session, "k", hashlib.sha256(b"POST /v1/jobs\n" + body).hexdigest(), job)
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    again = client.post("/v1/jobs", content=body, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, job)


def test_a_queued_job_says_what_it_waits_for(client: TestClient, dataset: str, db: Database) -> None:
    job = create_job(client, dataset)
    assert job["waiting_for"] == "a worker: none is running"
    with db.writing() as session:
        listings.replace(session, "w", 60, [build_listing("timm/another")])
    assert BACKBONE in client.get(f"/v1/jobs/{job['id']}").json()["waiting_for"]
    with db.writing() as session:
        listings.replace(session, "w", 60, [build_listing(BACKBONE)])
    (listed,) = client.get("/v1/jobs").json()["data"]
    assert (listed["waiting_for"], listed["queue_position"]) == (None, 1)


def test_concurrent_requests_with_one_key_create_one_job(
    client: TestClient, dataset: str, rows: Callable[[], dict[str, int]]
) -> None:
    answers: list[str] = []

    def post() -> None:
        answers.append(
            client.post("/v1/jobs", json=build_job_request(dataset), headers={"Idempotency-Key": "k"}).json()["id"]
        )

    threads = [threading.Thread(target=post) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 1
    assert rows()["jobs"] == 1


def test_lists_are_newest_first_in_pages_and_filtered(client: TestClient, dataset: str, db: Database) -> None:
    jobs = [create_job(client, dataset, metadata={"n": str(n % 2)})["id"] for n in range(5)]
    first = client.get("/v1/jobs", params={"limit": 2}).json()
    assert [job["id"] for job in first["data"]] == jobs[:2:-1]
    assert (first["has_more"], first["first_id"], first["last_id"]) == (True, jobs[4], jobs[3])
    second = client.get("/v1/jobs", params={"limit": 3, "after": first["last_id"]}).json()
    assert [job["id"] for job in second["data"]] == jobs[2::-1]
    assert second["has_more"] is False

    def ids(**query: str) -> list[str]:
        return [job["id"] for job in client.get("/v1/jobs", params=query).json()["data"]]

    client.post(f"/v1/jobs/{jobs[0]}/cancel")
    assert ids(status="cancelled") == [jobs[0]]
    assert ids(**{"metadata[n]": "1"}) == [jobs[3], jobs[1]]
    assert ids(**{"metadata[n]": "1", "metadata[m]": "1"}) == []
    assert ids(backbone="other") == []
    assert ids(**{"metadata[]": "1"}) == []
    assert len(ids(dataset=dataset, backbone=BACKBONE)) == 5
    assert_problem(client.get("/v1/jobs", params={"status": "lost"}), 422, "invalid_request", "status")
    assert_problem(client.get("/v1/jobs", params={"limit": 0}), 422, "invalid_request", "limit")


def test_a_queued_job_is_cancelled_at_once_and_then_stays_so(client: TestClient, dataset: str) -> None:
    job = create_job(client, dataset)["id"]
    for _ in range(2):  # the second time, because the answer to the first was lost
        cancelled = client.post(f"/v1/jobs/{job}/cancel")
        assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
    events = client.get(f"/v1/jobs/{job}/events").json()["data"]
    assert [event["kind"] for event in events] == ["queued", "cancelled"]


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_a_finished_job_cannot_be_cancelled(client: TestClient, dataset: str, db: Database, status: str) -> None:
    job = create_job(client, dataset)["id"]
    set_status(db, job, status)
    assert_problem(client.post(f"/v1/jobs/{job}/cancel"), 409, "wrong_state", f"is {status}", "be cancelled")


def test_a_running_job_is_cancelling_until_its_worker_has_ended_it(
    client: TestClient, dataset: str, db: Database
) -> None:
    job = create_job(client, dataset)["id"]
    set_status(db, job, JobStatus.RUNNING)
    for _ in range(2):
        assert client.post(f"/v1/jobs/{job}/cancel").json()["status"] == "cancelling"


def test_a_queued_job_is_paused_at_once_and_resumed(client: TestClient, dataset: str) -> None:
    job = create_job(client, dataset)["id"]
    assert_problem(client.post(f"/v1/jobs/{job}/resume"), 409, "wrong_state", "is queued", "only a paused job")
    assert_problem(client.post(f"/v1/jobs/{job}/stop"), 409, "wrong_state", "is queued", "only a running job")
    for _ in range(2):
        paused = client.post(f"/v1/jobs/{job}/pause")
        assert (paused.status_code, paused.json()["status"], paused.json()["queue_position"]) == (202, "paused", None)
    resumed = client.post(f"/v1/jobs/{job}/resume")
    assert (resumed.status_code, resumed.json()["status"], resumed.json()["queue_position"]) == (202, "queued", 1)
    client.post(f"/v1/jobs/{job}/pause")
    assert client.post(f"/v1/jobs/{job}/cancel").json()["status"] == "cancelled"
    events = client.get(f"/v1/jobs/{job}/events").json()["data"]
    assert [event["kind"] for event in events] == ["queued", "paused", "resumed", "paused", "cancelled"]


def test_jobs_with_a_higher_priority_come_first_in_the_queue(client: TestClient, dataset: str) -> None:
    jobs = [create_job(client, dataset, priority=priority)["id"] for priority in (0, -1, 3, 0)]
    listed = {job["id"]: job for job in client.get("/v1/jobs").json()["data"]}
    assert [listed[job]["queue_position"] for job in jobs] == [2, 4, 1, 3]
    assert [listed[job]["priority"] for job in jobs] == [0, -1, 3, 0]
    assert_problem(client.post("/v1/jobs", json=build_job_request(dataset, priority=101)), 422, "invalid_request")


def test_only_a_finished_job_is_deleted_with_everything_it_owns(
    client: TestClient, dataset: str, rows: Callable[[], dict[str, int]]
) -> None:
    job = create_job(client, dataset)["id"]
    assert_problem(client.delete(f"/v1/jobs/{job}"), 409, "job_not_finished", "cancel it")
    client.post(f"/v1/jobs/{job}/cancel")
    assert client.delete(f"/v1/jobs/{job}").status_code == 204
    assert_problem(client.get(f"/v1/jobs/{job}"), 404, "job_not_found", job)
    assert rows()["events"] == 0


@pytest.mark.parametrize("address", ["", "/events", "/metrics", "/trials", "/candidates", "/checkpoints"])
def test_an_unknown_job_is_not_found(client: TestClient, address: str) -> None:
    assert_problem(client.get(f"/v1/jobs/job_none{address}"), 404, "job_not_found", "job_none")


def test_events_come_in_pages_without_gaps(client: TestClient, dataset: str, db: Database) -> None:
    job = create_job(client, dataset)["id"]
    add_events(db, job, 6)
    first = client.get(f"/v1/jobs/{job}/events", params={"limit": 4}).json()
    assert [event["seq"] for event in first["data"]] == [1, 2, 3, 4]
    second = client.get(f"/v1/jobs/{job}/events", params={"after": first["last_id"]}).json()
    assert [event["seq"] for event in second["data"]] == [5, 6, 7]
    for wrong in ("job_other.3", job, f"{job}.", f"{job}.x", f"{job}.-1", f"{job}.{'9' * 5000}", "٣"):
        refused = client.get(f"/v1/jobs/{job}/events", params={"after": wrong})
        assert_problem(refused, 422, "position_unknown", "an id that this list gave")


def test_metrics_have_a_row_for_each_epoch(client: TestClient, dataset: str, db: Database) -> None:
    job = create_job(client, dataset)["id"]
    row = dict.fromkeys(
        ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "lr", "seconds"), 0.5
    )
    with db.writing() as session:
        session.add_all(
            Epoch(job_id=job, epoch=epoch, view=0, cache_hits=1, cache_misses=2, **row) for epoch in range(1, 4)
        )
    page = client.get(f"/v1/jobs/{job}/metrics", params={"limit": 2}).json()
    assert [row["epoch"] for row in page["data"]] == [1, 2]
    assert page["data"][0]["cache_misses"] == 2
    rest = client.get(f"/v1/jobs/{job}/metrics", params={"after": page["last_id"]}).json()
    assert [row["epoch"] for row in rest["data"]] == [3]


def test_trials_are_those_of_the_newest_search(client: TestClient, dataset: str, db: Database) -> None:
    job = create_job(client, dataset, recipe={"search": {"trials": 3}})["id"]
    assert client.get(f"/v1/jobs/{job}/trials").json()["data"] == []
    row = {"l2": 0.1, "dropout": 0.2, "epoch": 1, "epochs": 2, "validation_loss": None, "validation_accuracy": 0.5}
    with db.writing() as session:
        for attempt in (1, 2):  # the first died after its search
            trials = [{**row, "lr": attempt + place / 10} for place in range(3)]
            repository.replace_trials(session, job, trials)
    page = client.get(f"/v1/jobs/{job}/trials", params={"limit": 2}).json()
    assert [trial["lr"] for trial in page["data"]] == [2.0, 2.1]
    assert page["has_more"]
    rest = client.get(f"/v1/jobs/{job}/trials", params={"after": page["last_id"]}).json()
    assert rest["data"] == [{"id": f"{job}.2", "lr": 2.2, **row}]


def test_backbones_are_not_unknown_before_a_worker_has_listed_them(
    client: TestClient, dataset: str, db: Database
) -> None:
    with db.writing() as session:
        listings.replace(session, "w", 60, [])
    assert_problem(client.post("/v1/jobs", json=build_job_request(dataset)), 503, "backbones_not_listed", "Start one")
