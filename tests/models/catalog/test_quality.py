"""Candidates of a quality: which recipes it tries, and what it leaves to the user's."""

from __future__ import annotations

from typing import get_args

import pytest

from models.catalog.quality import SECONDS, SHARED, Quality, list_candidates
from models.catalog.recipe import Recipe


def test_fast_is_the_default_and_has_no_candidates() -> None:
    assert Recipe().quality == "fast"
    assert list_candidates(Recipe()) == []
    assert Recipe().budget_seconds is None


@pytest.mark.parametrize("quality", ["balanced", "best"])
def test_candidates_share_the_recipes_choices_and_begin_with_the_empty_recipe(quality: str) -> None:
    given = {"image_size": 96, "seed": 3, "loss": {"kind": "cross_entropy", "class_weights": "auto"}}
    given |= {"augmentations": ["horizontal_flip"], "cache": {"views": 2}, "validation_fraction": 0.2}
    recipe = Recipe.model_validate({"quality": quality, "time_budget_seconds": 60, **given})
    first, *others = list_candidates(recipe)
    assert first.recipe == Recipe.model_validate(given)
    assert others
    for name, candidate, is_larger in others:
        assert candidate.quality == "fast", name
        assert candidate.time_budget_seconds is None, "the whole job has one"
        assert candidate.cut.trains or candidate.pooling or is_larger
        assert {field: getattr(candidate, field) for field in given} == {
            field: getattr(recipe, field) for field in given
        }
    assert len({candidate.name for candidate in [first, *others]}) == len(others) + 1


def test_the_best_quality_begins_with_what_the_balanced_one_tries() -> None:
    balanced, best = (list_candidates(Recipe(quality=quality)) for quality in ("balanced", "best"))
    assert best[: len(balanced)] == balanced
    assert len(best) > len(balanced)


@pytest.mark.parametrize("quality", ["balanced", "best"])
def test_a_budget_is_the_recipes_own_or_that_of_its_quality(quality: Quality) -> None:
    assert Recipe(quality=quality).budget_seconds == SECONDS[quality]
    assert Recipe(quality=quality, time_budget_seconds=5.0).budget_seconds == 5.0


@pytest.mark.parametrize(
    ("field", "value"),
    [("cut", "none"), ("head", "mlp"), ("optimizer", "sgd"), ("epochs", 3), ("search", {}), ("keep", "last")],
)
def test_what_a_quality_chooses_itself_is_refused(field: str, value: object) -> None:
    with pytest.raises(
        ValueError, match=rf"quality: balanced chooses {field} itself: leave this out, or set quality to fast"
    ):
        Recipe.model_validate({"quality": "balanced", field: value})


@pytest.mark.parametrize("quality", ["balanced", "best"])
def test_what_is_said_of_cached_features_is_kept_by_candidates_that_have_some(quality: str) -> None:
    given = {"cache": {"mode": "on", "views": 2}, "engine": "openvino"}
    recipes = [one.recipe for one in list_candidates(Recipe.model_validate({"quality": quality, **given}))]
    chosen = {True: set[tuple[object, ...]](), False: set[tuple[object, ...]]()}
    for recipe in recipes:
        chosen[recipe.has_features].add((recipe.engine, recipe.cache.mode, recipe.cache.views))
    assert chosen == {True: {("openvino", "on", 2)}, False: {("auto", "auto", 2)}}


@pytest.mark.parametrize(("batch_size", "words"), [(1, "at least 2 images"), (4096, "lower batch_size to 1024")])
def test_what_a_candidate_cannot_do_is_refused(batch_size: int, words: str) -> None:
    with pytest.raises(ValueError, match=f"quality: best trains the whole network too, and .*{words}"):
        Recipe.model_validate({"quality": "best", "batch_size": batch_size})


def test_every_field_is_shared_or_refused() -> None:
    assert set(Recipe.model_fields) > SHARED
    dumped = Recipe(quality="best").model_dump(mode="json")
    assert Recipe.model_validate(dumped).quality == "best", "a whole recipe with its defaults is taken too"
    assert set(get_args(Quality)) == {"fast", *SECONDS}
