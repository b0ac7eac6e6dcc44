"""Search: each head of a stack against the same head trained alone, and halving against what it should keep."""

from __future__ import annotations

import copy
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from models.catalog.recipe import Recipe
from models.catalog.search import Trial
from models.layers import Dropout
from models.search import Stack, search
from tests.models.small_pack import small_pack
from tests.models.test_training import CLASSES, prepared

if TYPE_CHECKING:
    from pathlib import Path

OPTIMIZERS = ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "nadam"]
TRIALS = [Trial(3e-2, 0.0, 0.5), Trial(1e-3, 0.1, 0.0), Trial(1e-2, 1.0, 0.2), Trial(1e-1, 0.0, 0.0)]


def start() -> torch.nn.Linear:
    """A head of twelve features and three classes."""
    torch.manual_seed(3)
    return torch.nn.Linear(12, 3)


def batches(count: int, targets: bool = False) -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(5)
    return [
        (
            torch.randn(16, 12, generator=random),
            torch.rand(16, 3, generator=random).round() if targets else torch.randint(3, (16,), generator=random),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "binary_cross_entropy"])
def test_each_head_makes_the_steps_that_it_makes_alone(optimizer: str, loss: str) -> None:
    recipe = Recipe.model_validate({"optimizer": optimizer})
    loss_of = Recipe.model_validate({"loss": {"kind": loss, "class_weights": {"a": 2.0}}}).loss.build(list("abc"))
    shown = batches(6, targets=loss == "binary_cross_entropy")
    stack = Stack(recipe, TRIALS, start())
    for number, (features, labels) in enumerate(shown):
        torch.manual_seed(number)
        stack.step(features, labels, loss_of)
    assert [trial.dropout for trial in stack.trials] == [0.0, 0.0, 0.2, 0.5]
    for trial, logits in zip(stack.trials, stack.logits(shown[0][0]), strict=True):
        head = start()
        alone = recipe.optimizer.at(trial.lr).build(head.parameters())
        for number, (features, labels) in enumerate(shown):
            torch.manual_seed(number)
            for dropout in (0.2, 0.5):  # the masks in the stack's order
                masked = Dropout(dropout)(features)
                if dropout == trial.dropout:
                    break
            penalty = trial.l2 / 2 * head.weight.square().sum()
            alone.zero_grad()
            (loss_of(head(features if trial.dropout == 0 else masked), labels) + penalty).backward()
            alone.step()
        torch.testing.assert_close(logits, head(shown[0][0]), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_those_that_are_kept_go_on_as_if_nothing_had_happened(optimizer: str) -> None:
    recipe = Recipe.model_validate({"optimizer": optimizer})
    trials = [trial._replace(dropout=0.0) for trial in TRIALS]
    few, all_ = Stack(recipe, trials, start()), Stack(recipe, trials, start())
    for number, (features, labels) in enumerate(batches(8)):
        if number == 4:
            few.keep([3, 1])
        for stack in (few, all_):
            stack.step(features, labels, torch.nn.CrossEntropyLoss())
    assert few.trials == [all_.trials[1], all_.trials[3]]
    torch.testing.assert_close(few.logits(features), all_.logits(features)[[1, 3]], atol=1e-5, rtol=1e-5)


def searched(tmp_path: Path, deadline: float = math.inf, **choices: Any) -> tuple[Recipe, list[dict[str, Any]], Any]:
    """A search on real pictures: the recipe, the trials, and what is grafted."""
    given = {"epochs": 16, "optimizer": {"lr": 1e-2}, "search": {"trials": 8}, **choices}
    pack = small_pack(tmp_path, classes=3, each=30)
    recipe, grafted, source, train, validation = prepared(pack, tmp_path, **given)
    before = copy.deepcopy(grafted.head.state_dict())
    found, noted = search(recipe, CLASSES, grafted, source, train, validation, deadline)
    assert all(torch.equal(before[name], tensor) for name, tensor in grafted.head.state_dict().items())
    return found, noted.data["trials"], grafted


def test_the_half_that_does_worse_ends_each_time(tmp_path: Path) -> None:
    recipe, trials, grafted = searched(tmp_path)
    assert [trial["epochs"] for trial in trials] == [8, 4, 2, 2, 1, 1, 1, 1]
    assert all(0 <= trial["epoch"] <= trial["epochs"] for trial in trials)
    losses = np.array([trial["validation_loss"] for trial in trials])
    assert losses[2] <= losses[3]
    assert sorted(losses[4:]) == losses[4:].tolist()
    best = trials[0]
    assert (recipe.optimizer.rate, recipe.l2, recipe.search) == (best["lr"], best["l2"], None)
    assert recipe.head.kind == "linear"
    assert recipe.head.dropout == best["dropout"] == grafted.head[0].p
    assert searched(tmp_path)[1] == trials


def test_a_rate_that_diverges_loses(tmp_path: Path) -> None:
    choices = {"optimizer": {"kind": "sgd", "lr": 1e-2}, "search": {"trials": 6, "space": {"lr": [1e25, 1e30]}}}
    recipe, trials, _ = searched(tmp_path, **choices)
    assert recipe.optimizer.rate == 1e-2
    assert any(trial["validation_loss"] is None for trial in trials)


def test_a_time_budget_ends_it(tmp_path: Path) -> None:
    _, trials, _ = searched(tmp_path, deadline=time.monotonic())
    assert [trial["epochs"] for trial in trials] == [0] * 8
