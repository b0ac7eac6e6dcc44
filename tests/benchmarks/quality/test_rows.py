"""The table of results outlives interruptions: of its rows, of its lines, and of the program."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks.quality.rows import Key, Table, make_row

if TYPE_CHECKING:
    from pathlib import Path

KEY = Key("counting", "small", 0, "empty", 96, None)
ROW = make_row([0.9, 0.61234], [True, False], 1.234, 0.5, "epoch 3")


def test_a_row_has_the_accuracy_of_its_predictions() -> None:
    assert (ROW.accuracy, ROW.seconds, ROW.confidences, ROW.right) == (0.5, 1.23, (0.9, 0.6123), "10")


def test_rows_are_read_back_as_they_were(tmp_path: Path) -> None:
    table = Table(tmp_path / "deep" / "results.jsonl")
    rows = {KEY: ROW, KEY._replace(budget=60.0): replace(ROW, accuracy=1.0), KEY._replace(split=1): ROW}
    for key, row in rows.items():
        assert not table.begin(key)
        table.add(key, row)
    assert table.rows == Table(table.path).rows == rows


def test_a_row_without_a_result_was_interrupted(tmp_path: Path) -> None:
    Table(tmp_path / "results.jsonl").begin(KEY)
    again = Table(tmp_path / "results.jsonl")
    assert again.rows == {}
    assert again.begin(KEY)
    assert not again.begin(KEY._replace(split=1))


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_an_interrupted_line_is_left_out_and_later_ones_are_whole(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "results.jsonl"
    Table(path).add(KEY, ROW)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept].rstrip(b"}\n"))
    table = Table(path)
    assert table.rows == {KEY: ROW}
    table.add(KEY._replace(split=1), ROW)
    assert Table(path).rows == {KEY: ROW, KEY._replace(split=1): ROW}
