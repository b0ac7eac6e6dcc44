"""Stopping: what counts as improvement, and as good enough."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from models.catalog.early_stopping import EarlyStopping, Target
from models.catalog.recipe import Recipe


def test_a_loss_improves_by_falling_and_an_accuracy_by_rising() -> None:
    loss, accuracy = EarlyStopping(), EarlyStopping(metric="validation_accuracy")
    assert loss.is_improvement(0.9, 1.0)
    assert not loss.is_improvement(1.0, 1.0)
    assert not loss.is_improvement(1.1, 1.0)
    assert accuracy.is_improvement(0.6, 0.5)
    assert not accuracy.is_improvement(0.5, 0.5)
    assert not accuracy.is_improvement(0.4, 0.5)


@pytest.mark.parametrize("metric", ["validation_loss", "validation_accuracy"])
def test_the_first_epoch_is_an_improvement(metric: str) -> None:
    assert EarlyStopping.model_validate({"metric": metric, "min_delta": 0.5}).is_improvement(0.0, None)


def test_early_stopping_counts_only_real_improvements() -> None:
    loss = EarlyStopping(min_delta=0.25)
    accuracy = EarlyStopping(metric="validation_accuracy", min_delta=0.25)
    assert loss.is_improvement(0.5, 1.0)
    assert not loss.is_improvement(0.75, 1.0)
    assert accuracy.is_improvement(0.75, 0.25)
    assert not accuracy.is_improvement(0.75, 0.5)


@pytest.mark.parametrize(
    ("metric", "value", "reached"), [("validation_loss", 0.4, True), ("validation_loss", 0.6, False)]
)
def test_a_target_of_the_loss_is_reached_from_above(metric: str, value: float, reached: bool) -> None:
    target = Target.model_validate({"metric": metric, "value": 0.5})
    assert target.is_reached(value) is reached
    assert target.is_reached(0.5)


@pytest.mark.parametrize(("value", "reached"), [(0.95, True), (0.85, False)])
def test_a_target_of_the_accuracy_is_reached_from_below(value: float, reached: bool) -> None:
    target = Target(value=0.9)
    assert target.metric == "validation_accuracy"
    assert target.is_reached(value) is reached
    assert target.is_reached(0.9)


def test_an_accuracy_in_percent_is_answered_by_the_fraction() -> None:
    with pytest.raises(ValidationError, match=r"no accuracy is above 1: write 95% as 0\.95"):
        Target(value=95)
    assert Target(value=1.0).is_reached(1.0)
    assert Target(metric="validation_loss", value=2.0).is_reached(1.5)


def test_a_recipe_stops_early_unless_it_says_null() -> None:
    assert Recipe().early_stopping == EarlyStopping()
    assert Recipe.model_validate({"early_stopping": None}).early_stopping is None
