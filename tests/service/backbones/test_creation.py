"""Requests to pretrain a backbone: what is kept of them, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from service.backbones import pretraining
from service.tables import Backbone
from tests.support.datasets import add_dataset
from tests.support.pretrainings import add_pretraining
from tests.support.requests import BACKBONES, assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient

    from service.database import Database

SOURCE = BACKBONES[0]


@pytest.fixture
def images(db: Database) -> str:
    """A dataset with enough images."""
    return add_dataset(db, images=100)


def ask(client: TestClient, key: str = "", **pretrain: object) -> Any:
    headers = {"idempotency-key": key} if key else {}
    return client.post("/v1/backbones", json={"pretrain": pretrain, "name": "mine"}, headers=headers)


def test_a_worker_pretrains_it(client: TestClient, images: str) -> None:
    method = {"kind": "masked", "epochs": 3}
    response = ask(client, **{"dataset": images, "from": SOURCE, "method": method, "image_size": 64, "seed": 7})
    assert response.status_code == 202, response.text
    made = response.json()
    assert response.headers["location"] == f"/v1/backbones/{made['id']}"
    assert made["id"].startswith("bb_")
    assert (made["name"], made["status"], made["source"]) == ("mine", "pretraining", "pretraining")
    assert (made["pretrained_from"], made["pretrained_on"]) == (SOURCE, images)
    assert made["pretraining"]["image_size"] == 64
    assert made["pretraining"]["seed"] == 7
    assert made["pretraining"]["method"].items() >= {"kind": "masked", "epochs": 3, "batch_size": 64}.items()
    assert made["progress"] == {}
    assert "/events" in made["hint"]
    assert client.get(f"/v1/backbones/{made['id']}").json() == made
    events = client.get(f"/v1/backbones/{made['id']}/events").json()["data"]
    assert [event["kind"] for event in events] == ["queued"]
    listed = client.get("/v1/backbones", params={"source": "pretraining"}).json()["data"]
    assert [backbone["id"] for backbone in listed] == [made["id"]]


def test_the_method_is_contrastive_by_default(client: TestClient, images: str) -> None:
    made = ask(client, **{"dataset": images, "from": SOURCE}).json()
    assert made["pretraining"]["method"]["kind"] == "contrastive"


def test_a_request_that_is_repeated_makes_no_second(client: TestClient, images: str) -> None:
    first = ask(client, "key", **{"dataset": images, "from": SOURCE})
    second = ask(client, "key", **{"dataset": images, "from": SOURCE})
    assert first.json()["id"] == second.json()["id"]
    other = ask(client, "key", **{"dataset": images, "from": SOURCE, "seed": 1})
    assert_problem(other, 422, "idempotency_key_reused", "different request")


@pytest.mark.parametrize(
    ("changes", "code", "loc", "words"),
    [
        ({"dataset": "ds_none"}, "dataset_unknown", "body.pretrain.dataset", "POST /v1/datasets"),
        ({"from": "timm/none"}, "backbone_unknown", "body.pretrain.from", "There is no backbone timm/none"),
        ({"from": "ckpt_none"}, "backbone_unknown", "body.pretrain.from", "There is no checkpoint"),
        ({"method": "dino"}, "invalid_request", "body.pretrain.method", "the kinds here are 'contrastive', 'masked'"),
        ({"method": {"kind": "masked", "share": 2}}, "invalid_request", "body.pretrain.method.masked.share", "than 1"),
        ({"epochs": 3}, "invalid_request", "body.pretrain.epochs", "dataset, from, method, image_size, seed"),
        ({"image_size": 8}, "invalid_request", "body.pretrain.image_size", "16"),
        ({"from": None}, "invalid_request", "body.pretrain.from", "string"),
    ],
)
def test_what_cannot_be_done_is_named(
    client: TestClient,
    images: str,
    rows: Callable[[], dict[str, int]],
    changes: dict[str, Any],
    code: str,
    loc: str,
    words: str,
) -> None:
    before = rows()
    response = ask(client, **{"dataset": images, "from": SOURCE, **changes})
    assert_problem(response, 422, code, words)
    assert response.json()["errors"][0]["loc"] == loc
    assert rows() == before


@pytest.mark.parametrize(
    ("columns", "method", "code", "words"),
    [
        ({"status": "validating"}, "contrastive", "dataset_not_ready", "still being validated"),
        ({"images": 15}, "contrastive", "images_unfit", "15 images; 16 are needed"),
        ({"images": 90, "task": "unlabelled"}, "supervised", "images_unfit", "carry no labels"),
        ({"images": 90, "task": "multi_label"}, "supervised", "images_unfit", "carry several labels"),
    ],
)
def test_images_must_fit(
    client: TestClient, db: Database, columns: dict[str, Any], method: str, code: str, words: str
) -> None:
    response = ask(client, **{"dataset": add_dataset(db, **columns), "from": SOURCE, "method": method})
    assert_problem(response, 422, code, words)
    assert response.json()["errors"][0]["loc"] == "body.pretrain.dataset"


@pytest.mark.parametrize("body", ['{"pretrain": 5}', '{"pretrain": {}, "source": {"upload": "up_1"}}'])
def test_json_that_asks_for_a_pretraining_is_no_network(client: TestClient, body: str) -> None:
    response = client.post("/v1/backbones", content=body, headers={"content-type": "application/json"})
    assert response.json()["code"] == "invalid_request", response.text
    assert client.post("/v1/backbones", content=body.encode()).json()["code"] == "invalid_request"


def test_nothing_that_it_needs_can_be_deleted(client: TestClient, db: Database, images: str) -> None:
    first = add_pretraining(db, images, SOURCE)
    assert_problem(client.delete(f"/v1/datasets/{images}"), 409, "dataset_in_use", f"Backbone {first} is being")
    named = client.post("/v1/jobs", json={"dataset": images, "backbone": first})
    assert_problem(named, 422, "backbone_not_ready", "still being pretrained")
    accept(db, first)
    assert client.delete(f"/v1/datasets/{add_dataset(db, images=90)}").status_code == 204
    second = add_pretraining(db, images, first)
    assert_problem(client.delete(f"/v1/backbones/{first}"), 409, "backbone_in_use", f"Backbone {second} is being")
    assert client.delete(f"/v1/backbones/{second}").status_code == 204
    assert client.get(f"/v1/backbones/{second}").status_code == 404
    assert client.delete(f"/v1/backbones/{first}").status_code == 204
    assert client.delete(f"/v1/datasets/{images}").status_code == 204


def test_one_that_is_ready_is_listed_and_can_be_named(client: TestClient, db: Database, images: str) -> None:
    backbone = add_pretraining(db, images, SOURCE)
    assert backbone not in [entry["id"] for entry in client.get("/v1/backbones").json()["data"]]
    accept(db, backbone)
    found = client.get(f"/v1/backbones/{backbone}").json()
    assert (found["status"], found["licence"], found["progress"]) == ("ready", "mit", {"percent": 100.0})
    assert found["pretraining"]["images"] == 70
    assert found["pretraining"]["method"]["kind"] == "contrastive"
    assert backbone in [entry["id"] for entry in client.get("/v1/backbones").json()["data"]]
    assert client.post("/v1/jobs", json={"dataset": images, "backbone": backbone}).status_code == 202


def test_one_that_failed_says_why(client: TestClient, db: Database, images: str) -> None:
    backbone = add_pretraining(db, images, SOURCE)
    with db.writing() as session:
        row = session.get_one(Backbone, backbone, with_for_update=True)
        pretraining.reject(session, row, "training_diverged", "Set method.lr to less.")
    found = client.get(f"/v1/backbones/{backbone}").json()
    assert (found["status"], found["hint"]) == ("failed", None)
    assert found["error"] == {"code": "training_diverged", "message": "Set method.lr to less."}
    named = client.post("/v1/jobs", json={"dataset": images, "backbone": backbone})
    assert_problem(named, 422, "backbone_not_ready", "could not be pretrained: Set method.lr to less.")
    again = client.post(f"/v1/backbones/{backbone}/preprocessing", content=json.dumps({"labels": ["a"]}))
    assert_problem(again, 409, "backbone_not_uploaded", "was not uploaded")


def accept(db: Database, backbone: str) -> None:
    """End a pretraining as ready."""
    summary = {"architecture": "resnet18", "parameters": 7, "input_size": [3, 32, 32], "licence": "mit"}
    files = {"config.json": {"key": f"backbones/{backbone}/1/config.json", "bytes": 2, "digest": "00"}}
    figures = {"images": 70, "losses": [2.0, 1.0], "seconds": 3.0, "digest": "0", "from_digest": "1"}
    with db.writing() as session:
        row = session.get_one(Backbone, backbone, with_for_update=True)
        pretraining.accept(session, row, summary=summary, files=files, inspection={"cuts": []}, figures=figures)
