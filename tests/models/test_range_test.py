"""The range test against the losses that trainings at each rate really reach."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from models.catalog.recipe import Recipe
from models.range_test import RATES, SAFETY, find_rate

CLASSES = ["a", "b", "c"]


def problem(features: int = 40, rows: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardized features of three classes that overlap, and their labels."""
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (rows,), generator=random)
    centres = torch.randn(3, features, generator=random) * 0.3
    x = centres[labels] + torch.randn(rows, features, generator=random)
    return (x - x.mean(0)) / x.std(0), labels


def resolved(optimizer: str, **choices: Any) -> Recipe:
    """A recipe for them with its rate still open."""
    recipe = Recipe.model_validate({"optimizer": optimizer, "batch_size": 32, **choices})
    counts = dict.fromkeys(CLASSES, 200)
    return recipe.resolve(task="single_label", image_size=16, num_features=40, class_counts=counts, pictures=600)


def reached(recipe: Recipe, rate: float, head: torch.nn.Module) -> float:
    """Loss on the last quarter after ten passes over the others at a rate."""
    features, labels = problem()
    head = copy.deepcopy(head)
    optimizer = recipe.with_rate(rate).optimizer.build(head.parameters())
    loss_of = torch.nn.CrossEntropyLoss()
    for _ in range(10):
        for start in range(0, 448, 32):
            loss = loss_of(head(features[start : start + 32]), labels[start : start + 32])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return float(loss_of(head.eval()(features[450:]), labels[450:]).item())


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "nadam"])
def test_the_rate_that_is_found_is_nearly_as_good_as_the_best_of_all(optimizer: str) -> None:
    recipe = resolved(optimizer, head={"kind": "linear", "dropout": 0.0})
    head = recipe.head.build(40, 3)
    rate = find_rate(recipe, head, torch.nn.CrossEntropyLoss(), *problem())
    assert rate in [candidate / SAFETY for candidate in RATES]
    best = min(reached(recipe, candidate, head) for candidate in RATES)
    untrained = reached(recipe, 1e-12, head)
    assert reached(recipe, rate, head) < best + 0.35 * (untrained - best)


def test_the_head_is_left_as_it_was_and_the_rate_is_always_the_same() -> None:
    recipe = resolved("adam", head={"kind": "mlp", "hidden": [16], "normalization": "batch_norm"})
    head = recipe.head.build(40, 3)
    before = copy.deepcopy(head.state_dict())
    rates = {find_rate(recipe, head, torch.nn.CrossEntropyLoss(), *problem()) for _ in range(2)}
    assert len(rates) == 1
    assert all(torch.equal(before[name], value) for name, value in head.state_dict().items())


@pytest.mark.parametrize("batch_size", [1, 2, 60_000])
def test_any_batch_size_will_do(batch_size: int) -> None:
    recipe = resolved("adam", batch_size=batch_size)
    assert find_rate(recipe, recipe.head.build(40, 3), torch.nn.CrossEntropyLoss(), *problem(rows=60)) > 0
