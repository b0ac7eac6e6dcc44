"""Views: strict headers, no scripts or styles inline, assets of the service's own, and strangers' text escaped."""

from __future__ import annotations

import gzip
import re
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest

from service.tables import Dataset
from tests.support.requests import assert_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient
    from httpx2 import Response

    from service.database import Database

TABLES = ["/models", "/backbones", "/backbones/local/own", "/cache", "/workers", "/keys"]
VIEWS = ["/", "/data", "/train", "/jobs", "/try", "/predictions", *TABLES]
MOST_BYTES = 300_000


@pytest.fixture(params=[*VIEWS, "/data/{dataset}", "/jobs/{done}", "/login", "/data/none"])
def view(request: pytest.FixtureRequest, browse: Callable[..., Response], dataset: str, done: str) -> Response:
    """Each view."""
    return browse(request.param.format(dataset=dataset, done=done))


def test_views_have_nothing_inline_and_load_from_here(view: Response) -> None:
    assert view.headers["content-type"] == "text/html; charset=utf-8"
    policy = view.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*(src=|application/json))|javascript:", view.text)
    for address in re.findall(r'<(?:script|link|img|source)[^>]*?(?:src|href)="([^"]*)"', view.text):
        if address.startswith("/v1/datasets/"):  # thumbnails
            continue
        assert address.startswith("/static/")
        assert (files("service") / address.lstrip("/")).is_file()


def test_assets_are_small() -> None:
    static = files("service") / "static"
    kept = [
        *(static / "page").iterdir(),
        *(static / "vendor" / "htmx").iterdir(),
        *(static / "vendor" / "uplot").iterdir(),
    ]
    assert sum(len(gzip.compress(entry.read_bytes())) for entry in kept) <= MOST_BYTES


def test_names_of_strangers_are_text(browse: Callable[..., Response], db: Database, dataset: str) -> None:
    with db.writing() as session:
        session.get_one(Dataset, dataset).name = "<img src=x onerror=alert(1)>"
    for address in ("/", "/data", f"/data/{dataset}", "/train"):
        text = browse(address).text
        assert "<img src=x" not in text
        assert "&lt;img src=x" in text


def test_an_error_is_a_view_that_says_what_to_do(browse: Callable[..., Response]) -> None:
    response = browse("/jobs/job_none")
    assert response.status_code == 404
    assert "There is no job job_none" in response.text


def test_an_address_that_is_none_is_a_view_for_a_browser(browse: Callable[..., Response], client: TestClient) -> None:
    for address in ("/nothing", "/jobs/a/b/c"):
        response = browse(address)
        assert (response.status_code, f"no page {address}" in response.text) == (404, True)
    assert_problem(browse("/v1/nothing"), 404, "not_found")
    assert_problem(client.get("/nothing"), 404, "not_found")


def test_a_wrong_query_is_a_view_that_names_it(browse: Callable[..., Response]) -> None:
    response = browse("/jobs?status=lost")
    assert (response.status_code, "query.status: Input should be" in response.text) == (422, True)
    assert "<html" in response.text


def test_an_error_of_a_part_is_a_problem_that_the_page_tells(browse: Callable[..., Response]) -> None:
    assert_problem(browse("/jobs/job_none/slices", **{"HX-Request": "true"}), 404, "job_not_found", "job_none")


def test_json_in_a_script_cannot_end_it() -> None:
    from service.pages.rendering import _dump_json

    assert _dump_json({"a": "</script><!--"}) == '{"a": "\\u003c/script\\u003e\\u003c!--"}'


def test_a_program_is_led_to_the_api(client: TestClient) -> None:
    assert_problem(client.get("/jobs"), 404, "not_found", "did you mean /v1/jobs?")
    assert client.get("/jobs", headers={"HX-Request": "true"}).status_code == 200
