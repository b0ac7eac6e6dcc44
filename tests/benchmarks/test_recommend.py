"""Accuracy that is lost by taking the recommended backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.recommend import Result, compute_loss, list_datasets

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_lost_is_the_lead_of_the_best_over_the_recommended() -> None:
    first, second = Result("a", 0.9, 0.3, 0.85, 1, 1), Result("b", 0.8, 0.3, 0.875, 1, 1)
    assert compute_loss([first, second]) == pytest.approx(2.5)
    assert compute_loss([first, second._replace(expected=0.9, expected_loss=0.2)]) == 0
    assert compute_loss([first._replace(accuracy=0.9), second]) == 0


def test_datasets_are_archives(tmp_path: Path) -> None:
    (tmp_path / "datasets" / "a").mkdir(parents=True)
    for name in ("a.zip", "SOURCE.md", "b.tar.gz"):
        (tmp_path / "datasets" / "a" / name).touch()
    assert [path.name for path in list_datasets(tmp_path)] == ["a.zip", "b.tar.gz"]
