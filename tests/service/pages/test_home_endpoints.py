"""Overview: pages for browsers, addresses for programs, and the next step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient
    from httpx2 import Response


def _find_next_step(response: Response) -> str:
    (found,) = re.findall(r'<a class="button primary" href="([^"]*)"', response.text)
    return str(found)


def test_a_program_gets_json(client: TestClient) -> None:
    response = client.get("/")
    assert response.json()["openapi"] == "/openapi.json"
    assert "Accept" in response.headers["vary"]


def test_the_first_step_is_data(browse: Callable[..., Response]) -> None:
    assert _find_next_step(browse("/")) == "/data"


def test_the_second_step_is_training_on_it(browse: Callable[..., Response], dataset: str) -> None:
    assert _find_next_step(browse("/")) == f"/train?dataset={dataset}"


def test_the_third_step_is_trying_it(browse: Callable[..., Response], done: str) -> None:
    response = browse("/")
    assert _find_next_step(response) == "/try"
    assert f"/jobs/{done}" in response.text
    assert "75.0%" in response.text


def test_that_no_worker_runs_is_said(client: TestClient, browse: Callable[..., Response]) -> None:
    detail = client.get("/readyz").json().get("detail")
    assert (detail is None) == ('class="note warn"' not in browse("/").text)
