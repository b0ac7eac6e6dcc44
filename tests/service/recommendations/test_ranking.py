"""Ranking of candidates: order, ties, and whether any suffices."""

from __future__ import annotations

import random
from typing import Any

import pytest

from service.recommendations.ranking import rank
from service.tables import RecommendationCandidate


def candidate(name: str, right: list[bool] | None, **figures: Any) -> RecommendationCandidate:
    """A candidate that is right on these images, with bootstrap samples as workers draw them; None: not measured."""
    row = RecommendationCandidate(backbone=name, position=0)
    if right is not None:
        drawn = random.Random(0)
        places = range(len(right))
        row.figures = {
            "metric": "accuracy",
            "value": sum(right) / len(right),
            "replicates": [sum(right[drawn.choice(places)] for _ in places) / len(right) for _ in range(200)],
            "loss": 0.3,
            "constant": 0.5,
            "sample": len(right),
            **figures,
        }
    return row


def test_the_best_comes_first_and_those_without_figures_last() -> None:
    rows = [
        candidate("none", None),
        candidate("b", [True] * 80 + [False] * 20),
        candidate("a", [True] * 95 + [False] * 5),
    ]
    found = rank(rows, None)
    assert [(ranked.candidate.backbone, ranked.rank) for ranked in found.candidates] == [
        ("a", 1),
        ("b", 2),
        ("none", None),
    ]
    assert found.recommended == "a"
    best = found.candidates[0]
    # Wilson's interval of 95 in 100: (0.95 + 1.96²/200 ± 1.96·√(0.95·0.05/100 + 1.96²/40000))/(1 + 1.96²/100)
    assert (best.low, best.high) == pytest.approx((0.8882, 0.9785), abs=1e-4)
    assert rank([], None).candidates == []


def test_of_two_equally_accurate_the_surer_one_comes_first() -> None:
    right = [True] * 95 + [False] * 5
    found = rank([candidate("a", right, loss=0.2), candidate("b", right, loss=0.1)], None)
    assert [(ranked.candidate.backbone, ranked.is_tied) for ranked in found.candidates] == [("b", True), ("a", True)]


def test_a_tie_is_judged_image_by_image() -> None:
    """Two images apart out of 100: no tie where the worse is wrong on the same hard images and 12 others."""
    best = [number >= 30 for number in range(100)]
    close = [number >= 32 for number in range(100)]
    worse = [number >= 42 for number in range(100)]
    other = [number < 58 for number in range(100)]  # as many right as `worse`, but others
    found = rank([candidate("a", best), candidate("b", close), candidate("c", worse), candidate("d", other)], None)
    ties = {ranked.candidate.backbone: ranked.is_tied for ranked in found.candidates}
    assert ties == {"a": True, "b": True, "c": False, "d": True}
    assert found.advice is not None
    assert "2 others cannot be told from it" in found.advice


def test_none_suffices_that_is_not_surely_better_than_the_constant() -> None:
    found = rank([candidate("a", [True] * 55 + [False] * 45)], None)
    assert (found.recommended, found.candidates[0].suffices) == (None, False)
    assert found.advice is not None
    assert "accuracy 50.0%: the best, a, has accuracy 55.0%" in found.advice
    assert '{"quality": "balanced"}' in found.advice


def test_none_suffices_below_the_accuracy_that_is_needed() -> None:
    rows = [candidate("a", [True] * 90 + [False] * 10)]
    assert rank(rows, 0.9).recommended == "a"
    found = rank(rows, 0.95)
    assert found.recommended is None
    assert found.advice is not None
    assert found.advice.startswith("No candidate is expected to have accuracy 95.0%")


def test_of_several_labels_the_interval_is_that_of_the_bootstrap() -> None:
    replicates = [number / 1000 for number in range(500, 701)]
    found = rank([candidate("a", [True], metric="map", value=0.6, replicates=replicates, constant=0.2)], None)
    best = found.candidates[0]
    assert (best.low, best.high) == pytest.approx((0.505, 0.695))
    assert found.advice == "a is expected to have mean average precision 60.0%."
