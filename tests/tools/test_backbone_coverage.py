"""The run over all architectures: a row at a time, resumed, and nothing that an architecture does ends it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from tools import backbone_coverage
from tools.backbone_coverage import list_architectures, read, run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

COLUMNS = ("architecture", "structure", "reason")


def check(architecture: str) -> dict[str, Any]:
    """Behave as the architecture's name says."""
    if architecture == "dies":
        os._exit(1)
    if architecture == "hangs":
        time.sleep(100)
    if architecture == "raises":
        raise RuntimeError("it is broken")
    if architecture == "grows":
        bytearray(64 << 30)
    return {"structure": "graph"}


def test_each_architecture_is_a_row_whatever_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbone_coverage, "MAX_SECONDS", 2.0)
    table = tmp_path / "structure.csv"
    run(check, table, COLUMNS, ["works", "dies", "hangs", "raises", "grows"])
    rows = {row["architecture"]: (row["structure"], row["reason"]) for row in read(table)}
    assert rows["works"] == ("graph", "")
    assert rows["dies"] == ("failed", "the process died")
    assert rows["hangs"] == ("failed", "it takes more than 2 s")
    assert rows["raises"][1].startswith("RuntimeError: it is broken (test_backbone_coverage.py:")
    assert rows["grows"][1].startswith("MemoryError")


def test_a_run_that_was_stopped_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "structure.csv"
    run(check, table, COLUMNS, ["one"])
    capsys.readouterr()
    run(check, table, COLUMNS, ["one", "two"])
    assert [row["architecture"] for row in read(table)] == ["one", "two"]
    assert capsys.readouterr().out.split() == ["two", "graph"]


def test_every_architecture_of_both_libraries_is_tried() -> None:
    names = list_architectures()
    assert len(names) == len(set(names))
    assert {"resnet18", "torchvision/resnet18", "torchvision/maxvit_t"} < set(names)
