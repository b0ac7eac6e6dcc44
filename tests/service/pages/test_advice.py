"""Advice as changes of a recipe: each one is a recipe that a job takes."""

from __future__ import annotations

import pytest

from models.catalog.recipe import Recipe
from models.training.diagnostics import ADVICE
from service.pages.advice import apply, follow

HEADS = [{}, {"kind": "mlp", "hidden": [64, {"width": 32, "dropout": 0.4}], "activation": "sigmoid"}]


@pytest.mark.parametrize("head", HEADS, ids=["linear", "mlp"])
@pytest.mark.parametrize("kind", ADVICE)
def test_advice_changes_a_resolved_recipe_into_another_or_not_at_all(kind: str, head: dict[str, object]) -> None:
    plain = Recipe.model_validate({"head": head, "optimizer": {"lr": 0.01}})
    recipe = Recipe.model_validate(plain.model_copy(update={"head": plain.head.resolve(512, 3)}).model_dump())
    for _ in range(3):
        given = recipe.model_dump(mode="json")
        changed = follow(kind, given)
        if changed is None:
            return
        assert given == recipe.model_dump(mode="json"), "the old one stays as it is"
        assert Recipe.model_validate(changed) != recipe
        recipe = Recipe.model_validate(changed)


def test_hidden_layers_follow_though_each_has_its_own_once_resolved() -> None:
    layers = [{"width": 64, "dropout": 0.2, "activation": {"kind": "tanh"}, "initializer": {"kind": "orthogonal"}}]
    recipe = {"head": {"kind": "mlp", "hidden": layers, "dropout": 0.2, "activation": {"kind": "tanh"}}}
    changed = follow("saturated_units", recipe)
    assert changed is not None
    assert changed["head"]["hidden"][0]["activation"] == {"kind": "relu"}
    assert changed["head"]["hidden"][0]["initializer"] == "auto"
    less = follow("overfitting", recipe)
    assert less is not None
    assert less["head"]["dropout"] == less["head"]["hidden"][0]["dropout"] == 0.6


def test_where_the_first_change_is_made_already_the_learning_rate_changes() -> None:
    recipe = {"gradient_clipping": {"kind": "by_norm", "limit": 1.0}, "optimizer": {"kind": "adam", "lr": 0.1}}
    changed = follow("diverged", recipe)
    assert changed is not None
    assert changed["optimizer"] == {"kind": "adam", "lr": 0.03}


@pytest.mark.parametrize(("lr", "expected"), [(0.1, 0.3), (1e-7, 3e-7), (0.0123456789, 0.037037)])
def test_learning_rates_are_rounded_to_six_digits(lr: float, expected: float) -> None:
    assert follow("learning_rate_too_low", {"optimizer": {"lr": lr}}) == {"optimizer": {"lr": expected}}


def test_advice_that_no_value_follows_is_none() -> None:
    assert follow("learning_rate_too_low", {"optimizer": {"lr": "auto"}}) is None
    assert follow("overfitting", {"head": {"dropout": 0.95}}) is None
    assert follow("unknown", {}) is None


def test_what_a_head_of_one_layer_does_not_have_is_not_changed() -> None:
    assert follow("dead_units", Recipe().model_dump(mode="json")) is None


def test_fields_of_the_same_kind_stay() -> None:
    recipe = {"head": {"kind": "linear", "start": "lda", "dropout": 0.2}}
    assert apply(recipe, {"head": {"dropout": 0.5}}) == {"head": {"kind": "linear", "start": "lda", "dropout": 0.5}}
    assert apply(recipe, {"head": {"kind": "mlp"}}) == {"head": {"kind": "mlp"}}
