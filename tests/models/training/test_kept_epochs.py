"""Epochs that are kept beside the best, against lists by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from models.training import kept_epochs
from models.training.kept_epochs import MOST_IMPROVEMENTS, KeptEpochs

if TYPE_CHECKING:
    from models.catalog.recipe import Keep

IMPROVED = (1, 2, 5, 6)


def keep(which: Keep, epochs: int = 8, improved: tuple[int, ...] = IMPROVED) -> KeptEpochs:
    """Add epochs, whose only weight is their number."""
    kept = KeptEpochs(which)
    for epoch in range(1, epochs + 1):
        state = {"w": torch.tensor([float(epoch)])}
        kept.add_epoch(epoch, state.copy, improves=epoch in improved)
    return kept


@pytest.mark.parametrize(
    ("which", "expected"),
    [("best", []), ("last", [("last", 8)]), ("improvements", [("improved", 1), ("improved", 2), ("improved", 5)])],
)
def test_keeps_what_is_asked_for_but_not_the_best_twice(which: Keep, expected: list[tuple[str, int]]) -> None:
    found = keep(which).list_epochs(best=6)
    assert [(kept.kind, kept.epoch) for kept in found] == expected
    assert [kept.state["w"].item() for kept in found] == [epoch for _, epoch in expected]


def test_the_last_is_delivered_though_it_is_the_best() -> None:
    assert [kept.epoch for kept in keep("last").list_epochs(best=8)] == [8]


def test_of_many_improvements_the_newest_are_kept() -> None:
    kept = keep("improvements", 30, tuple(range(1, 31)))
    assert [found.epoch for found in kept.list_epochs(best=30)] == list(range(30 - MOST_IMPROVEMENTS, 30))
    assert kept.dropped == 30 - MOST_IMPROVEMENTS - 1


def test_large_weights_are_kept_of_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_epochs, "MOST_BYTES", 3 * 4)
    assert [found.epoch for found in keep("improvements", 9, tuple(range(1, 10))).list_epochs(best=9)] == [6, 7, 8]
    monkeypatch.setattr(kept_epochs, "MOST_BYTES", 1)
    assert [found.epoch for found in keep("improvements", 9, tuple(range(1, 10))).list_epochs(best=9)] == [8]


def test_its_state_resumes_it() -> None:
    kept, resumed = keep("improvements"), KeptEpochs("improvements")
    resumed.load_state_dict(kept.state_dict())
    assert resumed.list_epochs(best=6) == kept.list_epochs(best=6)
    assert resumed.dropped == kept.dropped
