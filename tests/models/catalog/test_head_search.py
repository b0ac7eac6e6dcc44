"""Tests of the search space, and of the recipe after a search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models.catalog.head_search import Search, Trial
from models.catalog.recipe import Recipe, ResolvedRecipe
from tests.support.recipe_variants import DATA

OWN = Trial(lr=1e-3, l2=0.025, dropout=0.2)


def drawn(trials: int = 400, **space: Any) -> list[Trial]:
    search = Search.model_validate({"trials": trials, "space": space}).resolve(400, 1280, 2)
    return search.draw_trials(OWN, np.random.default_rng(0))


def test_the_recipe_itself_is_the_first_trial() -> None:
    trials = drawn(7)
    assert len(trials) == 7
    assert trials[0] == OWN
    assert len(set(trials)) == 7
    assert trials == drawn(7)


def test_logarithms_are_uniform_within_the_range() -> None:
    trials = drawn(lr=[1e-4, 1e-2], l2=[1e-3, 10])[1:]
    for values, low, high in (([t.lr for t in trials], -4, -2), ([t.l2 for t in trials], -3, 1)):
        places = (np.log10(values) - low) / (high - low)
        assert places.min() >= -1e-3
        assert places.max() <= 1.001
        counts, _ = np.histogram(places, bins=4, range=(-0.001, 1.001))
        assert counts.min() > 70  # 100 expected, with a standard deviation of 9


def test_by_itself_it_looks_around_the_recipe() -> None:
    trials = drawn()
    assert 1e-4 <= min(t.lr for t in trials) < 1.5e-4
    assert 7e-3 < max(t.lr for t in trials) <= 1e-2
    assert 2.5e-4 <= min(t.l2 for t in trials) < 5e-4
    assert 0.12 < max(t.l2 for t in trials) <= 0.25
    assert {t.dropout for t in trials} == {0.0, 0.2, 0.5}


def test_no_more_heads_are_tried_than_fit_into_memory() -> None:
    assert Search(trials=64).resolve(400, 2048, 10).trials == 64
    assert Search(trials=512).resolve(400, 2048, 1000).trials == 65
    assert Search(trials=64).resolve(400, 2**20, 2**20).trials == 2


def test_null_leaves_a_choice_as_the_recipe_has_it() -> None:
    assert set(drawn(lr=None, l2=None, dropout=None)) == {OWN}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"trials": 1}, "greater than or equal to 2"),
        ({"space": {"lr": [1e-2, 1e-3]}}, "give the smaller one first"),
        ({"space": {"lr": [0, 1e-3]}}, "greater than 0"),
        ({"space": {"dropout": []}}, "at least 1 item"),
        ({"space": {"dropout": [1.0]}}, "less than 1"),
        ({"space": {"width": [1, 2]}}, "Extra inputs"),
    ],
)
def test_an_impossible_search_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Search.model_validate(given)


@pytest.mark.parametrize("regularizers", [["l2", "max_norm"], ["max_norm"], [{"kind": "l2", "strength": 5.0}]])
def test_the_best_becomes_the_recipe(regularizers: list[Any]) -> None:
    recipe = Recipe.model_validate({"search": {"trials": 8}, "regularizers": regularizers}).resolve(**DATA)
    found = recipe.apply_trial(Trial(lr=0.5, l2=0.25, dropout=0.125))
    assert (found.optimizer.rate, found.l2, found.search) == (0.5, 0.25, None)
    assert found.head.kind == "linear"
    assert found.head.dropout == 0.125
    kept = [regularizer.kind for regularizer in recipe.regularizers if regularizer.kind != "l2"]
    assert [regularizer.kind for regularizer in found.regularizers] == [*kept, "l2"]
    assert ResolvedRecipe.model_validate_json(found.model_dump_json()) == found
