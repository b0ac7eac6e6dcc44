"""Requests to the API, and what its answers must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

BACKBONES = ["timm/resnet18.a1_in1k", "timm/resnet50.a1_in1k", "timm/vit_tiny_patch16_224.augreg_in21k", "local/own"]
"""Backbones that are listed in the database of `client`."""

BACKBONE = BACKBONES[0]


def build_job_request(dataset: str, **more: Any) -> dict[str, Any]:
    """Build the body of a request for a job."""
    return {"dataset": dataset, "backbone": BACKBONE, **more}


def create_job(client: TestClient, dataset: str, **more: Any) -> dict[str, Any]:
    """Create a job, which must be accepted."""
    response = client.post("/v1/jobs", json=build_job_request(dataset, **more))
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    return job


def assert_problem(response: Any, status: int, code: str, *parts: str) -> dict[str, Any]:
    """Assert that a response is problem+json with this status and code, and all of these parts in its detail."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "instance", "code"} <= body.keys()
    assert body["code"] == code
    for part in parts:
        assert part in body["detail"]
    return body
