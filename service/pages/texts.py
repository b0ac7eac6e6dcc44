"""Texts of the page: one catalog of English, by key, ready for translation.

`english.toml` has a table for each view. A text may hold {placeholders}; a text that depends on a number `n` is a table
of `one` and `other`.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any


def translate(key: str, **values: Any) -> str:
    """Find the text of a key, such as home.title, and fill in its placeholders. Raises KeyError."""
    text = _read_catalog()[key]
    if isinstance(text, dict):
        text = text["one" if values["n"] == 1 else "other"]
    return text.format(**values) if values else text


def find(key: str, default: str) -> str:
    """Find the text of a key that the catalog may lack, such as that of a technique that is new."""
    text = _read_catalog().get(key, default)
    return text if isinstance(text, str) else default


@cache
def _read_catalog() -> dict[str, str | dict[str, str]]:
    """Read the catalog: texts by their keys."""
    tables = tomllib.loads((files(__package__) / "english.toml").read_text())
    return {f"{view}.{name}": text for view, texts in tables.items() for name, text in texts.items()}
