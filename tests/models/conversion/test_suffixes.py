"""Links with the suffix of a format."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from models.conversion.suffixes import link_with_suffix

if TYPE_CHECKING:
    import pytest


def test_a_link_has_the_suffix_and_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "upload").write_bytes(b"bytes")
    (tmp_path / "links").mkdir()
    monkeypatch.chdir(tmp_path)
    link = link_with_suffix(Path("upload"), ".keras", tmp_path / "links")
    assert (link.suffix, link.read_bytes(), link.parent) == (".keras", b"bytes", tmp_path / "links")
