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


def test_a_row_that_fails_is_said_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GRAFT_BACKBONES", raising=False)
    table = Table(tmp_path / "results.jsonl")
    too_small = KEY._replace(method="empty", image_size=8)
    run_rows(table, iter([KEY._replace(method="fastai", budget=60.0), too_small]))
    assert table.rows == {}
    output = capsys.readouterr().out
    assert "fastai: is measured in its own time alone" in output
    assert "digits rendered_shapes 0 empty failed: ValidationError" in output
