"""Tables of models, caches and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient
    from httpx2 import Response


def test_keys_are_shown_without_their_secrets(browse: Callable[..., Response], client: TestClient) -> None:
    created = client.post("/v1/keys", json={"name": "a script"}).json()
    text = browse("/keys").text
    assert "a script" in text
    assert created["secret"] not in text
    assert f'hx-delete="/v1/keys/{created["id"]}"' in text


def test_a_model_that_is_unknown_is_an_error(browse: Callable[..., Response]) -> None:
    assert browse("/models/none").status_code == 404
    assert "No models yet" in browse("/models").text
    assert "No cache yet" in browse("/cache").text
