"""The command runs what the table lacks, and nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.quality.__main__ import run_rows
from benchmarks.quality.rows import Key, Table

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

KEY = Key("digits", "rendered_shapes", 0, "scikit_learn", 32, None)


def test_rows_are_run_once_and_interrupted_ones_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GRAFT_BACKBONES", raising=False)
    path = tmp_path / "results.jsonl"
    Table(path).begin(KEY)
    run_rows(Table(path), iter([KEY]))
    row = Table(path).rows[KEY]
    assert row.resumed
    assert row.accuracy > 0.7
    assert "digits rendered_shapes 0 scikit_learn" in capsys.readouterr().out
    written = path.read_bytes()
    run_rows(Table(path), iter([KEY]))
    assert path.read_bytes() == written
