"""The built guide: without a warning, and with nothing that is loaded from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.repository import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The pages of the built guide, by their addresses."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed")
    folder: Path = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stdout + built.stderr) == (0, "")
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.html")}


def test_nothing_is_loaded_from_elsewhere(pages: dict[str, str]) -> None:
    assert len(pages) > 20
    for name, page in pages.items():
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?([^\" >]+)", page)
        loaded += re.findall(r"<link\b[^>]*rel=\"?(?:stylesheet|icon|preconnect)[^>]*\bhref=\"?([^\" >]+)", page)
        assert loaded, name
        assert [address for address in loaded if re.match(r"(https?:)?//", address)] == [], name


def test_no_script_stands_inside_a_page(pages: dict[str, str]) -> None:
    found = {
        name: re.findall(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", page) for name, page in pages.items()
    }
    assert {name: scripts for name, scripts in found.items() if scripts} == {}


def test_lists_and_tables_are_those_that_were_meant(pages: dict[str, str]) -> None:
    """Lists and tables of GitHub are lists and tables here, too."""
    found = {
        name: re.findall(r"<p>(?:(?!</p>)[^<]|<(?!/p>))*\n(?:- |\d+\. |\|)[^\n]*", page) for name, page in pages.items()
    }
    assert {name: broken for name, broken in found.items() if broken} == {}
    assert "<code>cat|dog</code>" in pages["datasets.html"]


def test_pages_say_which_snippets_are_not_run(pages: dict[str, str]) -> None:
    assert "Not run by the tests: it needs Docker." in pages["how-to/production.html"]
    assert "not run:" not in pages["how-to/production.html"]
