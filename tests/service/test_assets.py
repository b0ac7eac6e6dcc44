"""Assets: compressed, and asked for again."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi.testclient import TestClient


def test_assets_are_compressed_and_revalidated(client: TestClient) -> None:
    response = client.get("/static/page/base.css", headers={"Accept-Encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert response.headers["cache-control"] == "no-cache"
    unchanged = client.get("/static/page/base.css", headers={"If-None-Match": response.headers["etag"]})
    assert unchanged.status_code == 304
