"""Login: a key becomes a cookie that scripts cannot read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from service.keys.scopes import Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient


def test_a_key_becomes_a_cookie(client: TestClient, make_key: Callable[..., str]) -> None:
    page = client.get("/login", params={"next": "/docs"})
    assert 'value="/docs"' in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    response = client.post("/login", data={"key": f" {make_key(Scope.READ)}\n", "next": "/docs"})
    assert (response.status_code, response.headers["location"]) == (303, "/docs")
    cookie = response.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert client.get("/docs").status_code == 200
    client.post("/logout", headers={"Origin": "http://graft.example"})
    assert client.get("/v1/jobs").status_code == 401


def test_a_wrong_key_is_asked_for_again(client: TestClient) -> None:
    response = client.post("/login", data={"key": "<script>", "next": '/"><script>'})
    assert response.status_code == 401
    assert "<script>" not in response.text
    assert "No API key is as the one that was sent." in response.text
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize(
    "address", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:1", "/\t/x"]
)
def test_the_login_leads_to_no_other_site(client: TestClient, make_key: Callable[..., str], address: str) -> None:
    response = client.post("/login", data={"key": make_key(Scope.READ), "next": address})
    assert response.headers["location"] == "/"
