"""A job's predictions for its images: orders, filters, pages, and the split that the job itself has made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from service.tables import Job
from tests.support.job_predictions import JOB, LABELS, TEST, VALIDATION, add_images, add_job, predict
from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi.testclient import TestClient

    from service.database import Database
    from service.settings import Settings


@pytest.fixture
def dataset(client: TestClient, db: Database, settings: Settings, tmp_path: Path) -> str:
    """The id of the dataset of a job with predictions."""
    dataset = add_images(db, settings)
    add_job(db, tmp_path, dataset, predict())
    return dataset


def list_all(client: TestClient, limit: int = 100, **filters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": limit, **filters}
    while True:
        response = client.get(f"/v1/jobs/{JOB}/predictions", params=query)
        assert response.status_code == 200, response.text
        page = response.json()
        assert len(page["data"]) <= limit
        found += page["data"]
        if not page["has_more"]:
            return found
        query["after"] = page["last_id"]


def places(found: list[dict[str, Any]]) -> list[int]:
    return [int(each["id"].removeprefix(f"{JOB}.")) for each in found]


@pytest.mark.parametrize("limit", [1, 2, 6, 100])
def test_orders_in_pages(client: TestClient, dataset: str, limit: int) -> None:
    assert places(list_all(client, limit)) == [11, 6, 10, 3, 9, 0]
    assert places(list_all(client, limit, order="doubtful")) == [3, 9, 10, 6, 0, 11]
    assert places(list_all(client, limit, order="name")) == [11, 10, 9, 6, 3, 0]
    assert places(list_all(client, limit, order="name", split="validation")) == [7, 4, 1]


def test_an_image_has_its_prediction(client: TestClient, dataset: str) -> None:
    worst = list_all(client)[0]
    probability = 1 / (1 + np.exp(4))
    assert worst.pop("label_probability") == pytest.approx(probability, rel=1e-5)
    assert worst.pop("loss") == pytest.approx(-np.log(probability), rel=1e-5)
    assert [each["name"] for each in worst["classes"]] == ["cat", "dog"]
    assert [each["probability"] for each in worst.pop("classes")] == pytest.approx([1 - probability, probability], 1e-3)
    assert worst == {
        "id": f"{JOB}.11",
        "digest": "0b" * 32,
        "file": "00.png",
        "labels": ["dog"],
        "split": "test",
        "flags": [],
        "width": 80,
        "height": 90,
        "bytes": 5,
        "url": f"/v1/datasets/{dataset}/images/{'0b' * 32}",
        "predicted": ["cat"],
        "is_correct": False,
    }
    assert [len(each["classes"]) for each in list_all(client, top_k=1)] == [1] * 6


@pytest.mark.parametrize("limit", [1, 100])
def test_filters_open_a_cell_of_the_confusion_matrix(client: TestClient, dataset: str, limit: int) -> None:
    assert places(list_all(client, limit, label="cat", predicted="dog")) == [6, 10]
    assert places(list_all(client, limit, label="dog", predicted="cat")) == [11]
    assert places(list_all(client, limit, label="dog")) == [11, 3, 9]
    assert places(list_all(client, limit, predicted="cat")) == [11, 0]


def test_several_labels(client: TestClient, db: Database, settings: Settings, tmp_path: Path) -> None:
    dataset = add_images(db, settings, is_multi_label=True)
    targets = np.stack([np.ones(12), LABELS], 1).astype(np.float32)
    add_job(db, tmp_path, dataset, predict(targets))
    listed = list_all(client)
    found = dict(zip(places(listed), listed, strict=True))
    assert found[0]["predicted"] == ["cat", "dog"]
    assert (found[0]["labels"], found[0]["is_correct"]) == (["cat"], False)
    assert (found[3]["labels"], found[3]["is_correct"]) == (["cat", "dog"], True)
    assert found[10]["predicted"] == ["dog"]
    assert all(each["label_probability"] is None for each in listed)
    assert set(places(list_all(client, predicted="cat"))) == {0, 3, 6, 9, 11}
    assert set(places(list_all(client, label="dog"))) == {3, 9, 11}


def test_the_split_of_a_job(client: TestClient, dataset: str) -> None:
    def find(**filters: str) -> list[tuple[int, str | None]]:
        response = client.get(f"/v1/datasets/{dataset}/images", params=filters)
        assert response.status_code == 200, response.text
        return [(int(each["id"].split(".")[1]), each["split"]) for each in response.json()["data"]]

    assert {split for _, split in find()} == {None}
    assert find(job=JOB, split="test") == [(place, "test") for place in TEST]
    assert find(job=JOB, split="validation") == [(place, "validation") for place in VALIDATION]
    assert find(job=JOB, split="train") == [(place, "train") for place in (5, 8)]
    assert len(find(job=JOB)) == 12
    assert find(job=JOB, split="test", label="dog", flag="small") == []


def test_what_is_wrong_is_named(
    client: TestClient, db: Database, dataset: str, tmp_path: Path, settings: Settings
) -> None:
    address = f"/v1/jobs/{JOB}/predictions"
    assert_problem(client.get("/v1/jobs/job_none/predictions"), 404, "job_not_found")
    for name in ("label", "predicted"):
        assert_problem(client.get(address, params={name: "bird"}), 422, "label_unknown", "bird")
    for after in ("other.1", f"{JOB}.1", f"{JOB}.{10**17}"):
        assert_problem(client.get(address, params={"after": after}), 422, "position_unknown")
    for query in ({"split": "train"}, {"order": "best"}, {"top_k": "11"}):
        assert client.get(address, params=query).status_code == 422
    other = add_images(db, settings)
    images = f"/v1/datasets/{other}/images"
    assert_problem(client.get(images, params={"job": JOB}), 422, "job_of_other_dataset", JOB, dataset)
    assert_problem(client.get(images, params={"job": "job_none"}), 404, "job_not_found")


@pytest.mark.parametrize(
    ("status", "reason"),
    [("succeeded", "earlier release"), ("running", "is running"), ("failed", "was failed"), ("paused", "is paused")],
)
def test_a_job_without_predictions_says_why(
    client: TestClient, db: Database, settings: Settings, tmp_path: Path, status: str, reason: str
) -> None:
    dataset = add_images(db, settings)
    checkpoint = add_job(db, tmp_path, dataset, None, status)
    for address in (f"/v1/jobs/{JOB}/predictions", f"/v1/datasets/{dataset}/images?job={JOB}"):
        assert_problem(client.get(address), 404, "predictions_not_found", JOB, reason)
    if checkpoint:
        assert client.get(f"/v1/checkpoints/{checkpoint}").json()["predictions_bytes"] is None


def test_they_go_with_the_checkpoint(client: TestClient, db: Database, dataset: str) -> None:
    (checkpoint,) = client.get(f"/v1/jobs/{JOB}/checkpoints").json()["data"]
    assert checkpoint["predictions_bytes"] == len(predict())
    assert list_all(client)
    assert client.delete(f"/v1/checkpoints/{checkpoint['id']}").status_code == 204
    assert_problem(client.get(f"/v1/jobs/{JOB}/predictions"), 404, "predictions_not_found", "deleted")
    with db.reading() as session:
        assert session.get(Job, JOB) is not None


def test_another_epoch_of_the_job_tells_its_split_but_is_not_its_result(
    client: TestClient, db: Database, settings: Settings, tmp_path: Path
) -> None:
    dataset = add_images(db, settings)
    add_job(db, tmp_path, dataset, predict(), kind="improved")
    assert_problem(client.get(f"/v1/jobs/{JOB}/predictions"), 404, "predictions_not_found", "deleted")
    listed = client.get(f"/v1/datasets/{dataset}/images", params={"job": JOB, "split": "test"}).json()["data"]
    assert [int(image["id"].rpartition(".")[2]) for image in listed] == list(TEST)
