"""Each format has one reader; where a library is missing, the error names it and the extra."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from models.conversion.errors import ExtraMissing
from models.importers import readers
from models.importers.errors import ImportRejected
from models.importers.request import ImportRequest

if TYPE_CHECKING:
    from pathlib import Path


def test_every_format_has_one_reader() -> None:
    assert len(set(readers.FORMATS)) == len(readers.CONVERTERS) + len(readers.READERS)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.startswith("models.conversion.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises((ImportRejected, ExtraMissing), match="lacks onnx") as caught:
        readers.read("onnx", ImportRequest(file=tmp_path / "net.onnx", folder=tmp_path))
    assert isinstance(caught.value, ImportRejected | ExtraMissing)
    assert caught.value.code == "extra_missing"
    assert "graft[import]" in str(caught.value)
