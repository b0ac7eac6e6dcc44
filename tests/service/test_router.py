"""HEAD answers as GET does, without a body, on every address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.router import PARTS
from tests.support.requests import assert_problem, create_job

if TYPE_CHECKING:
    from fastapi.testclient import TestClient


def test_head_is_get_without_a_body(client: TestClient, dataset: str) -> None:
    job = create_job(client, dataset)["id"]
    paths = {route.path for part in PARTS for route in part.router.routes if "GET" in (route.methods or ())}
    assert {"/", "/healthz", "/readyz", "/docs", "/login", "/v1/jobs", "/v1/jobs/{job_id}/events"} <= paths
    for path in [*paths, "/openapi.json"]:
        known = {"{job_id}": job, "{dataset_id}": dataset, "{name:path}": "local/own"}
        for name, value in known.items():
            path = path.replace(name, value)
        got, headed = (ask(path, follow_redirects=False) for ask in (client.get, client.head))
        assert (headed.status_code, headed.content) == (got.status_code, b""), path
        if path != "/metrics":
            assert headed.headers["content-length"] == got.headers["content-length"], path


def test_head_does_not_follow_the_events_of_a_job(client: TestClient, dataset: str) -> None:
    job = create_job(client, dataset)["id"]
    headed = client.head(f"/v1/jobs/{job}/events", headers={"accept": "text/event-stream"})
    assert (headed.status_code, headed.content) == (200, b"")
    assert headed.headers["content-type"].startswith("text/event-stream")


def test_head_is_not_documented_twice(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert not [path for path, methods in paths.items() if "head" in methods]


def test_the_index_names_the_documentation(client: TestClient) -> None:
    index = client.get("/").json()
    for name in ("documentation", "openapi", "ready"):
        assert client.get(index[name]).status_code == 200


def test_slashes_too_many_change_nothing(client: TestClient, dataset: str) -> None:
    assert client.get(f"http://127.0.0.1:8000//v1//datasets/{dataset}/").json()["id"] == dataset
    refused = client.post("/v1/datasets/", content=b"x" * (2 << 20))
    assert_problem(refused, 422, "not_an_archive")
