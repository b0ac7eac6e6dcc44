"""Scopes: every operation of the API needs one, and a key that has it may call it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.documentation import describe_api
from service.keys.scopes import INCLUDED, Scope, find_needed_scopes
from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import FastAPI
    from fastapi.testclient import TestClient

OPEN = {("GET", "/healthz"), ("GET", "/readyz")}


def list_operations(app: FastAPI) -> list[tuple[str, str]]:
    """List the method and the address of every operation that the API describes, and of the pages beside it."""
    paths = describe_api(app)["paths"]
    described = [(method.upper(), path) for path, operations in paths.items() for method in operations]
    return [*described, ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/no/such/address")]


def call(client: TestClient, method: str, path: str, secret: str | None) -> Any:
    """Send a request without a body."""
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return client.request(method, path.replace("{", "").replace("}", ""), headers=headers)


def test_without_a_key_nothing_but_probes_answers(app: FastAPI, client: TestClient) -> None:
    operations = list_operations(app)
    assert len(operations) > 30
    assert set(operations) >= OPEN
    for method, path in operations:
        response = call(client, method, path, None)
        if (method, path) in OPEN:
            assert response.status_code in (200, 503)
        else:
            assert_problem(response, 401, "key_missing", "GRAFT_API_KEY")
            assert response.headers["www-authenticate"].startswith("Bearer")


def test_a_revoked_key_is_refused_everywhere_at_once(
    app: FastAPI, client: TestClient, make_key: Callable[..., str]
) -> None:
    admin, secret = make_key(Scope.ADMIN), make_key(Scope.ADMIN)
    own = {"Authorization": f"Bearer {admin}"}
    assert call(client, "GET", "/v1/jobs", secret).status_code == 200
    revoked = next(
        key for key in client.get("/v1/keys", headers=own).json()["data"] if secret.startswith(key["prefix"])
    )
    assert client.delete(f"/v1/keys/{revoked['id']}", headers=own).status_code == 204
    for method, path in list_operations(app):
        if (method, path) not in OPEN:
            assert_problem(call(client, method, path, secret), 401, "key_revoked", revoked["id"])


@pytest.mark.parametrize("scope", Scope)
def test_each_scope_allows_its_operations_alone(
    app: FastAPI, client: TestClient, make_key: Callable[..., str], scope: Scope
) -> None:
    secret = make_key(scope)
    allowed = 0
    for method, path in list_operations(app):
        response = call(client, method, path, secret)
        if INCLUDED[scope].intersection(find_needed_scopes(method, path)):
            assert response.status_code not in (401, 403), (method, path)
            allowed += (method, path) not in OPEN
        elif (method, path) not in OPEN:
            assert_problem(response, 403, "scope_missing", scope.value)
    assert allowed > 0


@pytest.mark.parametrize(
    ("method", "path", "scopes"),
    [
        ("GET", "/v1/jobs", [Scope.READ]),
        ("HEAD", "/v1/checkpoints/x/content", [Scope.READ]),
        ("GET", "/metrics", [Scope.READ]),
        ("POST", "/v1/recipes/check", [Scope.READ]),
        ("POST", "/v1/jobs", [Scope.WRITE]),
        ("DELETE", "/v1/datasets/x", [Scope.WRITE]),
        ("POST", "/v1/backbones/timm/x/inspect", [Scope.WRITE]),
        ("PUT", "/v1/models/flowers", [Scope.WRITE]),
        ("POST", "/v1/predict", [Scope.PREDICT]),
        ("POST", "/v1/models/flowers/predict", [Scope.PREDICT]),
        ("POST", "/v1/checkpoints/x/predict", [Scope.PREDICT]),
        ("POST", "/v1/checkpoints/x/saliency", [Scope.PREDICT]),
        ("POST", "/v1/predictions", [Scope.PREDICT]),
        ("POST", "/v1/predictions/pred_1/cancel", [Scope.PREDICT]),
        ("GET", "/v1/predictions", [Scope.READ, Scope.PREDICT]),
        ("GET", "/v1/predictions/pred_1/content", [Scope.READ, Scope.PREDICT]),
        ("DELETE", "/v1/predictions/pred_1", [Scope.WRITE]),
        ("GET", "/v1/cache", [Scope.READ]),
        ("DELETE", "/v1/cache", [Scope.ADMIN]),
        ("GET", "/v1/keys", [Scope.ADMIN]),
        ("DELETE", "/v1/keys/x", [Scope.ADMIN]),
    ],
)
def test_the_scopes_of_a_request(method: str, path: str, scopes: list[Scope]) -> None:
    assert list(find_needed_scopes(method, path)) == scopes
