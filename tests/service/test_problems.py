"""Problems: addresses and methods that are slightly wrong are answered by the right ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from tests.support.requests import assert_problem, build_job_request

if TYPE_CHECKING:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient


@pytest.mark.parametrize(
    ("method", "address", "allowed"),
    [
        ("PUT", "/v1/jobs", "GET, HEAD, POST"),
        ("POST", "/v1/jobs/job_x", "GET, HEAD, DELETE"),
        ("DELETE", "/v1/datasets", "GET, HEAD, POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("GET", "/v1/jobs/job_x/cancel", "POST"),
        ("PATCH", "/v1/checkpoints/c/content", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_taken_is_answered_by_all_that_are(
    client: TestClient, method: str, address: str, allowed: str
) -> None:
    refused = client.request(method, address)
    assert_problem(refused, 405, "method_not_allowed", f"does not take {method}, but {allowed}")
    assert refused.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("method", "address"),
    [("PUT", "/v1/datasets"), ("PUT", "/v1/datasets/photos.zip"), ("POST", "/v1/datasets/photos.zip")],
)
def test_an_upload_as_curl_sends_it_without_a_method(client: TestClient, method: str, address: str) -> None:
    refused = client.request(method, address, content=b"PK" * (1 << 20))
    assert_problem(refused, 405, "method_not_allowed", "curl -X POST -T photos.zip http://127.0.0.1:8000/v1/datasets")


def test_an_address_without_its_version_is_completed(client: TestClient) -> None:
    for address in ("/jobs", "/api/v1/jobs", "/api/jobs", "/v1/v1/jobs"):
        assert_problem(client.get(address), 404, "not_found", address)
    assert_problem(client.get("/jobs"), 404, "not_found", "did you mean /v1/jobs?")
    assert_problem(client.get("/api/v1/jobs"), 404, "not_found", "did you mean /v1/jobs?")
    assert_problem(client.get("/v1/job"), 404, "not_found", "/openapi.json lists them")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"recipe": {"n_epochs": 3}}, ["body.recipe.n_epochs", "did you mean epochs?"]),
        ({"recipe": {"optimizr": "adam"}}, ["body.recipe.optimizr", "did you mean optimizer?"]),
        ({"recipe": {"optimizer": "nestrov"}}, ["body.recipe.optimizer: There is no", "did you mean nesterov?"]),
        (
            {"recipe": {"head": {"kind": "mlp", "activation": "relo"}}},
            ["recipe.head.mlp.activation: There is no", "did you mean relu?"],
        ),
        (
            {"recipe": {"learning_rate": 0.1}},
            ["body.recipe.learning_rate", "the fields here are quality, task,", "optimizer"],
        ),
        (
            {"recipe": {"optimizer": {"kind": "adam", "rate": 1}}},
            ["recipe.optimizer.adam.rate", "the fields here are lr, kind, beta1"],
        ),
        ({"webhook": "x"}, ["body.webhook", "backbone, backbones, recipe, dataset, name, metadata, publish, priority"]),
        ({"recipe": {"epochs": True}}, ["body.recipe.epochs: true and false are no numbers"]),
        ({"priority": False}, ["body.priority: true and false are no numbers"]),
        ({"recipe": {"epochs": 0}}, ["body.recipe.epochs: Input should be greater than or equal to 1, or 'auto'"]),
        ({"recipe": []}, ["body.recipe: Input should be a valid object"]),
        ({"name": "a\nb"}, ["body.name: must be one line"]),
        ({"metadata": {"a\tb": "c"}}, ["body.metadata", "a key must be one line"]),
        ({"metadata": {"a": True}}, ["body.metadata.a: Input should be a valid string"]),
    ],
)
def test_a_field_that_is_wrong_is_named_with_what_is_right(
    client: TestClient, dataset: str, more: dict[str, object], says: list[str]
) -> None:
    assert_problem(client.post("/v1/jobs", json=build_job_request(dataset, **more)), 422, "invalid_request", *says)


def test_a_statement_that_sqlite_cannot_run_is_no_database_that_is_away(app: FastAPI, client: TestClient) -> None:
    with app.state.database.writing() as session:
        if session.get_bind().dialect.name != "sqlite":
            pytest.skip("SQLite alone calls both an OperationalError")
        session.execute(text("ALTER TABLE datasets RENAME TO elsewhere"))
    assert_problem(client.get("/v1/datasets"), 500, "internal_error")
