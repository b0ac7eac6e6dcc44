"""The guide: served to everybody where it is built, and how to build it where it is not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from service import guide
from service.keys.scopes import needs_key
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from fastapi.testclient import TestClient


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site of two pages and a script, of which the application knows."""
    folder = tmp_path / "site"
    (folder / "how-to").mkdir(parents=True)
    (folder / "index.html").write_text('<script src="app.js"></script><a href="how-to/train.html">Train</a>')
    (folder / "how-to" / "train.html").write_text("<h1>Train</h1>")
    (folder / "app.js").write_text("")
    (tmp_path / "secret.txt").write_text("secret")
    monkeypatch.setattr(guide, "SITE", folder)
    return folder


def test_where_it_is_not_built_one_line_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, client: TestClient
) -> None:
    monkeypatch.setattr(guide, "SITE", tmp_path / "none")
    for address in ("/guide", "/guide/", "/guide/start.html"):
        answer = client.get(address)
        assert answer.status_code == 404
        (line,) = answer.text.splitlines()
        assert "make guide" in line
    assert re.search("^guide:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.usefixtures("site")
class TestBuilt:
    """Served where it is built before the application."""

    @pytest.fixture
    def client(self, site: Path, client: TestClient) -> TestClient:
        """The application, made when the site was there."""
        return client

    def test_the_address_leads_to_its_first_page(self, client: TestClient) -> None:
        answer = client.get("/guide")
        assert answer.url.path == "/guide/index.html"
        assert client.get("/guide/").url.path == "/guide/index.html"
        assert client.get("/guide/how-to/train.html").text == "<h1>Train</h1>"

    def test_pages_load_nothing_from_elsewhere(self, client: TestClient) -> None:
        policy = client.get("/guide/index.html").headers["content-security-policy"]
        assert "default-src 'none'; script-src 'self';" in policy
        assert "http" not in policy

    def test_what_there_is_not_is_an_error_of_the_api(self, client: TestClient) -> None:
        for address in ("/guide/none.html", "/guide/../secret.txt", "/guide/%2e%2e/secret.txt", "/guide/how-to"):
            answer = client.get(address)
            assert answer.status_code == 404
            assert "secret" not in answer.text.replace("secret.txt", "")
        assert client.post("/guide/index.html").status_code == 405


def test_it_needs_no_key() -> None:
    assert not needs_key("/guide")
    assert not needs_key("/guide/how-to/train.html")
    assert needs_key("/guides")
