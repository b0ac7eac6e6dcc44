"""Requests for predictions that cannot be answered, without a predictor."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
import torch

from models.runtime import checkpoint_file
from service.predictions import forwarding
from tests.support.broken_database import listening
from tests.support.checkpoints import add_job, store_and_publish
from tests.support.images import png

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi.testclient import TestClient

    from service.database import Database


@pytest.fixture(autouse=True)
def _without_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for a predictor that is being started."""
    monkeypatch.setattr(forwarding, "START_SECONDS", 0.0)
    monkeypatch.setattr(forwarding, "RESTART_SECONDS", 0.0)


@pytest.fixture
def checkpoint(db: Database, tmp_path: Path) -> str:
    add_job(db)
    file = tmp_path / "file.safetensors"
    checkpoint_file.write(file, {"weight": torch.zeros(2)}, {})
    return store_and_publish(db, file).id


def problem(response: Any, status: int, code: str) -> str:
    assert response.headers["content-type"] == "application/problem+json", response.text
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    detail: str = response.json()["detail"]
    return detail


def test_without_a_predictor_it_says_how_to_start_one(client: TestClient, checkpoint: str) -> None:
    detail = problem(client.post(f"/v1/checkpoints/{checkpoint}/predict", content=png(0)), 503, "no_predictor")
    assert "graft predictor" in detail


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("/v1/predict?models=ckpt_none", "checkpoint_not_found"),
        ("/v1/checkpoints/ckpt_none/predict", "checkpoint_not_found"),
        ("/v1/models/flowers/predict", "model_not_found"),
    ],
)
def test_unknown_models_are_named(client: TestClient, address: str, code: str) -> None:
    detail = problem(client.post(address, content=png(0)), 404, code)
    assert "ckpt_none" in detail or "flowers" in detail


def test_a_request_without_models_or_images_says_how(client: TestClient, checkpoint: str) -> None:
    assert "?models=" in problem(client.post("/v1/predict", content=png(0)), 422, "models_missing")
    address = f"/v1/checkpoints/{checkpoint}/predict"
    assert "curl -X POST -T cat.jpg" in problem(client.post(address), 422, "no_image")
    problem(client.post(address, json={"images": []}), 422, "no_image")
    named_twice = {"images": [{"base64": ""}], "models": ["a"]}
    assert "already" in problem(client.post(address, json=named_twice), 422, "models_missing")


def test_too_many_images_are_refused(client: TestClient, db: Database, checkpoint: str) -> None:
    statements: list[str] = []
    address = f"/v1/checkpoints/{checkpoint}/predict"
    files = [("file", (f"{number}.png", b"x")) for number in range(257)]
    assert "256 images" in problem(client.post(address, files=files), 422, "too_many_images")
    images = [{"base64": "AA=="}] * 10_000
    problem(client.post(address, json={"images": images}), 422, "too_many_images")
    many = {"models": [checkpoint] * 1000, "images": images[:200]}
    with listening(db, "before_cursor_execute", lambda *given: statements.append(given[2])):
        problem(client.post("/v1/predict", json=many), 422, "too_many_predictions")
    assert statements == [], "none was looked up"


@pytest.mark.parametrize(
    "address", ["/v1/predict?models={}", "/v1/checkpoints/{}/predict", "/v1/checkpoints/{}/nearest"]
)
def test_a_name_is_looked_up_once(client: TestClient, db: Database, checkpoint: str, address: str) -> None:
    statements: list[str] = []
    for _ in ("looked up", "remembered, and confirmed"):
        with listening(db, "before_cursor_execute", lambda *given: statements.append(given[2])):
            problem(client.post(address.format(checkpoint), content=png(0)), 503, "no_predictor")
        assert len([each for each in statements if "FROM checkpoints" in each]) == 1
        statements.clear()


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({"images": [{"base64": "AA==", "digest": "0" * 64}]}, "body.images.0"),
        ({"images": [{"dataset": "ds_1"}]}, "body.images.0"),
        ({"images": [{"base64": "AA=="}], "top_k": 0}, "body.top_k"),
        ({"images": [{"base64": "AA=="}], "top_k": True}, "body.top_k"),
        ({"images": [{"base64": "AA=="}], "coverage": False}, "body.coverage"),
        ({"images": [{"base64": "AA=="}], "coverage": 1}, "body.coverage"),
        ({"images": [{"base64": "AA=="}], "topk": 1}, "body.topk"),
        ({}, "body.images"),
    ],
)
def test_wrong_fields_are_named(client: TestClient, checkpoint: str, body: dict[str, Any], loc: str) -> None:
    response = client.post(f"/v1/checkpoints/{checkpoint}/predict", json=body)
    problem(response, 422, "invalid_request")
    assert response.json()["errors"][0]["loc"] == loc


def test_an_option_stands_in_one_place(client: TestClient, checkpoint: str) -> None:
    address = f"/v1/checkpoints/{checkpoint}/predict?top_k=2"
    image = base64.b64encode(png(0)).decode()
    problem(client.post(address, json={"images": [{"base64": image}], "top_k": 2}), 422, "invalid_request")
    problem(client.post(address, files={"file": ("a.png", png(0))}, data={"top_k": "2"}), 422, "invalid_request")
    problem(client.post(address.replace("=2", "=many"), content=png(0)), 422, "invalid_request")


def test_a_request_larger_than_the_limit_is_refused(client: TestClient, app: Any, checkpoint: str) -> None:
    app.state.settings = app.state.settings.model_copy(update={"max_predict_bytes": 1000})
    response = client.post(f"/v1/checkpoints/{checkpoint}/predict", content=b"x" * 1001)
    assert "GRAFT_MAX_PREDICT_BYTES" in problem(response, 413, "request_too_large")
