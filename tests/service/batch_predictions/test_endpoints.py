"""HTTP of batch predictions: requests, lists, deletion, cancelling, and the results in every format."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
import torch

from models.runtime.checkpoint_file import write
from service import queued_work
from service.batch_predictions import repository
from service.statuses import WorkStatus
from service.storage import Storage
from service.tables import BatchEvent, BatchPart, BatchPrediction
from tests.support.checkpoints import add_job, store_and_publish
from tests.support.datasets import add_dataset
from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi.testclient import TestClient

    from service.database import Database
    from service.settings import Settings

FORMATS = {"csv": "text/csv", "jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}


@pytest.fixture
def checkpoint(db: Database, tmp_path: Path) -> str:
    """The id of a checkpoint."""
    write(tmp_path / "a", {"head": torch.randn(7)}, {"k": "v"})
    add_job(db)
    return store_and_publish(db, tmp_path / "a").id


def create(client: TestClient, dataset: str, *models: str, **options: Any) -> dict[str, Any]:
    response = client.post("/v1/predictions", json={"dataset": dataset, "models": list(models), **options})
    assert response.status_code == 202, response.text
    made: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/v1/predictions/{made['id']}"
    return made


def start(db: Database, prediction: str) -> None:
    """Start it, as a worker does."""
    with db.writing() as session:
        row = repository.get(session, prediction, lock=True)
        row.status, row.attempt = WorkStatus.RUNNING, 1
        queued_work.start(session, row, "", {})


def succeed(db: Database, settings: Settings, prediction: str) -> dict[str, bytes]:
    """End it with results, as a worker does; gives these by format."""
    contents, files = {}, {}
    for format in FORMATS:
        content = contents[format] = format.encode() * 1000
        key = f"{repository.get_folder(prediction)}/{format}"
        with Storage(settings.storage).writing(key) as file:
            file.write(content)
        files[format] = {"key": key, "bytes": len(content), "digest": hashlib.sha256(content).hexdigest()}
    start(db, prediction)
    with db.writing() as session:
        row = repository.get(session, prediction, lock=True)
        row.files = files
        queued_work.succeed(session, row, f"{row.images} images")
    return contents


def test_a_request_is_queued(client: TestClient, dataset: str, checkpoint: str) -> None:
    client.put("/v1/models/flowers", json={"checkpoint": checkpoint})
    made = create(client, dataset, "flowers", checkpoint, top_k=3, coverage=0.8, name="all of them")
    assert made["id"].startswith("pred_")
    assert made["models"] == [
        {"model": "flowers", "checkpoint": checkpoint},
        {"model": checkpoint, "checkpoint": checkpoint},
    ]
    assert (made["status"], made["dataset"], made["images"], made["files"]) == ("queued", dataset, 10, [])
    assert (made["top_k"], made["coverage"], made["name"]) == (3, 0.8, "all of them")
    assert made["progress"]["percent"] == 0
    assert client.get(f"/v1/predictions/{made['id']}").json() == made
    (event,) = client.get(f"/v1/predictions/{made['id']}/events").json()["data"]
    assert (event["kind"], event["id"]) == ("queued", f"{made['id']}.1")
    assert 'graft_predictions{status="queued"} 1.0' in client.get("/metrics").text


def test_what_cannot_be_done_is_refused_by_name(
    client: TestClient, db: Database, dataset: str, checkpoint: str
) -> None:
    def post(**body: Any) -> Any:
        return client.post("/v1/predictions", json={"dataset": dataset, "models": [checkpoint], **body})

    assert_problem(post(dataset="ds_none"), 422, "dataset_unknown", "ds_none")
    unfinished = add_dataset(db, "validating")
    assert_problem(post(dataset=unfinished), 422, "dataset_not_ready", "still being validated")
    assert_problem(post(models=["roses"]), 404, "model_not_found", "roses")
    assert_problem(post(models=["ckpt_none"]), 404, "checkpoint_not_found", "ckpt_none")
    assert_problem(post(models=[checkpoint, checkpoint]), 422, "model_named_twice", checkpoint)
    assert_problem(post(models=[f"m{number}" for number in range(20)], top_k=1000), 422, "too_many_predictions")
    malformed: list[dict[str, Any]] = [{"models": []}, {"top_k": 0}, {"coverage": 1}, {"format": "csv"}]
    for bad in malformed:
        assert_problem(post(**bad), 422, "invalid_request")


def test_the_same_request_again_makes_no_second(client: TestClient, dataset: str, checkpoint: str) -> None:
    body, key = {"dataset": dataset, "models": [checkpoint]}, {"Idempotency-Key": "once"}
    first, second = (client.post("/v1/predictions", json=body, headers=key).json() for _ in range(2))
    assert first == second
    assert len(client.get("/v1/predictions").json()["data"]) == 1


def test_a_list_is_paged_and_filtered(client: TestClient, db: Database, dataset: str, checkpoint: str) -> None:
    client.put("/v1/models/flowers", json={"checkpoint": checkpoint})
    other = add_dataset(db)
    made = [create(client, dataset, "flowers"), create(client, dataset, checkpoint), create(client, other, checkpoint)]
    ids = [each["id"] for each in reversed(made)]

    def find(query: str) -> list[str]:
        return [each["id"] for each in client.get(f"/v1/predictions?{query}").json()["data"]]

    page = client.get("/v1/predictions?limit=2").json()
    assert ([each["id"] for each in page["data"]], page["has_more"]) == (ids[:2], True)
    assert find(f"after={page['last_id']}") == ids[2:]
    assert find(f"dataset={dataset}") == ids[1:]
    assert find("model=flowers") == ids[2:]
    assert find(f"model={checkpoint}") == ids
    client.post(f"/v1/predictions/{ids[0]}/cancel")
    assert find("status=cancelled") == ids[:1]
    assert_problem(client.get("/v1/predictions?after=job_1"), 422, "invalid_request")


def test_results_in_every_format(
    client: TestClient, db: Database, settings: Settings, dataset: str, checkpoint: str
) -> None:
    made = create(client, dataset, checkpoint)
    address = f"/v1/predictions/{made['id']}"
    assert_problem(client.get(f"{address}/content"), 409, "prediction_not_finished", "queued")
    contents = succeed(db, settings, made["id"])
    ended = client.get(address).json()
    assert (ended["status"], ended["progress"]["percent"]) == ("succeeded", 100)
    for file in ended["files"]:
        content = contents[file["format"]]
        response = client.get(file["url"])
        assert (response.content, len(content)) == (content, file["bytes"])
        assert file["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert response.headers["content-type"].startswith(FORMATS[file["format"]])
        assert response.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
        assert response.headers["content-disposition"].endswith(f'filename="{made["id"]}.{file["format"]}"')
        part = client.get(file["url"], headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, content[10:20])
        again = client.get(file["url"], headers={"If-None-Match": response.headers["etag"]})
        assert again.status_code == 304
        assert client.head(file["url"]).headers["content-length"] == str(len(content))
    assert client.get(f"{address}/content").content == contents["csv"]
    assert_problem(client.get(f"{address}/content?format=xlsx"), 422, "invalid_request")
    messages = [event["message"] for event in client.get(f"{address}/events").json()["data"]]
    assert messages[-1] == "Succeeded: 10 images"


def test_one_that_has_ended_is_deleted_with_its_files(
    client: TestClient, db: Database, settings: Settings, dataset: str, checkpoint: str
) -> None:
    made = create(client, dataset, checkpoint)
    address = f"/v1/predictions/{made['id']}"
    start(db, made["id"])
    assert_problem(client.delete(address), 409, "prediction_not_finished", "running", "cancel")
    with db.writing() as session:
        row = repository.get(session, made["id"])
        row.status = WorkStatus.QUEUED
    succeed(db, settings, made["id"])
    assert client.delete(address).status_code == 204
    assert_problem(client.get(address), 404, "prediction_not_found", made["id"])
    assert_problem(client.delete(address), 404, "prediction_not_found")
    with pytest.raises(FileNotFoundError), Storage(settings.storage).reading(f"predictions/{made['id']}/csv"):
        pass
    with db.reading() as session:
        assert session.query(BatchEvent).count() == 0


def test_what_it_needs_cannot_be_deleted_before_it_has_ended(client: TestClient, dataset: str, checkpoint: str) -> None:
    made = create(client, dataset, checkpoint)
    assert_problem(client.delete(f"/v1/datasets/{dataset}"), 409, "dataset_in_use", made["id"], "cancel")
    assert_problem(client.delete(f"/v1/checkpoints/{checkpoint}"), 409, "checkpoint_in_use", made["id"], "cancel")
    assert client.post(f"/v1/predictions/{made['id']}/cancel").json()["status"] == "cancelled"
    assert client.delete(f"/v1/datasets/{dataset}").status_code == 204
    assert client.delete(f"/v1/checkpoints/{checkpoint}").status_code == 204
    assert client.get(f"/v1/predictions/{made['id']}").json()["dataset"] == dataset


def test_cancelling(client: TestClient, db: Database, settings: Settings, dataset: str, checkpoint: str) -> None:
    made = create(client, dataset, checkpoint)
    address = f"/v1/predictions/{made['id']}"
    start(db, made["id"])
    with db.writing() as session:
        session.add(BatchPart(prediction_id=made["id"], first=0, images=1, errors=0, key="k", digest="0" * 64))
    for _ in range(2):
        assert client.post(f"{address}/cancel").json()["status"] == "cancelling"
    with db.writing() as session:
        queued_work.interrupt(session, repository.get(session, made["id"], lock=True))
    ended = client.get(address).json()
    assert (ended["status"], ended["finished_at"] is None) == ("cancelled", False)
    assert_problem(client.get(f"{address}/content"), 409, "no_results", "cancelled")
    with db.reading() as session:
        assert session.query(BatchPart).count() == 0
    done = create(client, dataset, checkpoint)["id"]
    succeed(db, settings, done)
    assert_problem(client.post(f"/v1/predictions/{done}/cancel"), 409, "wrong_state", "succeeded")


def test_a_failed_one_says_why_it_has_no_results(
    client: TestClient, db: Database, dataset: str, checkpoint: str
) -> None:
    made = create(client, dataset, checkpoint)
    start(db, made["id"])
    with db.writing() as session:
        queued_work.fail(session, repository.get(session, made["id"]), "model_unloadable", "Its file is damaged.")
    address = f"/v1/predictions/{made['id']}"
    assert client.get(address).json()["error"] == {"code": "model_unloadable", "message": "Its file is damaged."}
    assert_problem(client.get(f"{address}/content"), 409, "no_results", "failed", "Its file is damaged.")


def test_events_are_streamed_until_it_ends(
    client: TestClient, db: Database, settings: Settings, dataset: str, checkpoint: str
) -> None:
    made = create(client, dataset, checkpoint)
    succeed(db, settings, made["id"])
    response = client.get(f"/v1/predictions/{made['id']}/events", headers={"Accept": "text/event-stream"})
    events = [json.loads(line[5:]) for line in response.text.splitlines() if line.startswith("data:")]
    assert [event["kind"] for event in events] == ["queued", "started", "succeeded"]
    assert [event["seq"] for event in events] == [1, 2, 3]
    with db.reading() as session:
        assert session.get_one(BatchPrediction, made["id"]).event_seq == 3
