"""Texts of the page: one catalog, used whole, and no text outside it."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files

import pytest

from service.pages.texts import find, translate

PAGES = files("service.pages")
TEMPLATES = [entry for entry in (PAGES / "templates").iterdir() if entry.name.endswith(".html")]
NAMES = {"Graft", "timm", "px", "M", "G", "×", "·", "–", "…", "%", "/"}
"""What stands in templates and is no text to translate: names and units."""
EXAMPLES = ("graft keys create NAME",)


def _list_keys() -> set[str]:
    tables = tomllib.loads((PAGES / "english.toml").read_text())
    return {f"{view}.{name}" for view, texts in tables.items() for name in texts}


def _find_uses() -> tuple[set[str], set[str]]:
    """Find the keys that templates and modules name, and the beginnings of those that they build."""
    sources = [entry.read_text() for entry in TEMPLATES]
    sources += [entry.read_text() for entry in PAGES.iterdir() if entry.name.endswith("_endpoints.py")]
    text = "\n".join([*sources, (PAGES / "rendering.py").read_text()])
    whole = set(re.findall(r"""\b(?:t|translate)\(["']([a-z_]+\.[a-zA-Z0-9_]+)["'][,)]""", text))
    started = set(re.findall(r"""(?:\bt|find_text|find)\(f?["']([a-z_]+\.[a-z_]*)(?:["'] ~|\{)""", text))
    return whole, started


def test_every_text_that_is_used_is_in_the_catalog_and_the_other_way_round() -> None:
    keys = _list_keys()
    whole, started = _find_uses()
    assert whole - keys == set()
    unused = {key for key in keys - whole if not key.startswith(tuple(started))}
    assert unused == set()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda entry: entry.name)
def test_templates_have_no_text_of_their_own(template: object) -> None:
    text = template.read_text()  # type: ignore[attr-defined]
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", text, flags=re.DOTALL)
    text = re.sub(r"<(script|style|option)\b.*?</\1>|<!doctype html>|<[^>]*>", " ", text, flags=re.DOTALL)
    for example in EXAMPLES:
        text = text.replace(example, " ")
    words = {word for word in re.findall(r"[^\W\d_]+", text) if word not in NAMES}
    assert words == set()


def test_a_number_chooses_the_form() -> None:
    assert translate("count.images", n=1, count="1") == "1 image"
    assert translate("count.images", n=0, count="0") == "0 images"


def test_a_text_that_is_lacking_is_an_error_or_a_default() -> None:
    with pytest.raises(KeyError):
        translate("home.nothing")
    assert find("home.nothing", "x") == "x"
    assert find("home.title", "x") == "Overview"
