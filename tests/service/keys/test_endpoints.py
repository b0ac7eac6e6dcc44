"""HTTP of API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from service.keys.scopes import Scope
from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient


@pytest.fixture
def admin(client: TestClient, make_key: Callable[..., str]) -> TestClient:
    """A client with a key that allows everything."""
    client.headers["Authorization"] = f"Bearer {make_key(Scope.ADMIN)}"
    return client


def test_a_key_is_shown_once(admin: TestClient) -> None:
    response = admin.post("/v1/keys", json={"name": "ci", "scopes": ["read", "predict"], "expires_in": 60})
    made = response.json()
    assert (response.status_code, response.headers["cache-control"]) == (201, "no-store")
    assert response.headers["location"] == f"/v1/keys/{made['id']}"
    found = admin.get(response.headers["location"]).json()
    assert found == {name: value for name, value in made.items() if name != "secret"}
    assert made["expires_at"] > made["created_at"]
    assert made["secret"] not in admin.get("/v1/keys").text
    assert admin.get("/v1/jobs", headers={"Authorization": f"Bearer {made['secret']}"}).status_code == 200


def test_a_revoked_key_stays_in_the_list(admin: TestClient) -> None:
    made = admin.post("/v1/keys", json={"name": "old"}).json()
    assert made["scopes"] == ["write"]
    assert [admin.delete(f"/v1/keys/{made['id']}").status_code for _ in range(2)] == [204, 204]
    page = admin.get("/v1/keys?limit=1").json()
    assert page["data"][0]["id"] == made["id"]
    assert page["data"][0]["revoked_at"] is not None
    assert page["has_more"]
    assert admin.get(f"/v1/keys?after={page['last_id']}").json()["data"][0]["name"] == "test"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "expires_in": 0},
        {"name": "x", "secret": "mine"},
    ],
)
def test_a_malformed_request_is_refused(admin: TestClient, body: dict[str, Any]) -> None:
    assert_problem(admin.post("/v1/keys", json=body), 422, "invalid_request")


def test_an_unknown_key_is_not_found(admin: TestClient) -> None:
    assert_problem(admin.delete("/v1/keys/key_x"), 404, "key_not_found", "key_x")
