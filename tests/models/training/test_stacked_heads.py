"""A stack of heads: each against the same head trained alone."""

from __future__ import annotations

import pytest
import torch

from models.catalog.head_search import Trial
from models.catalog.recipe import Recipe, ResolvedRecipe
from models.nn.layers import Dropout
from models.training.stacked_heads import StackedHeads
from tests.support.recipe_variants import DATA

OPTIMIZERS = ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "nadam"]
TRIALS = [Trial(3e-2, 0.0, 0.5), Trial(1e-3, 0.1, 0.0), Trial(1e-2, 1.0, 0.2), Trial(1e-1, 0.0, 0.0)]


def resolved(optimizer: str) -> ResolvedRecipe:
    return Recipe.model_validate({"optimizer": optimizer}).resolve(**DATA)


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
    recipe = resolved(optimizer)
    loss_of = Recipe.model_validate({"loss": {"kind": loss, "class_weights": {"a": 2.0}}}).loss.build(list("abc"))
    shown = batches(6, targets=loss == "binary_cross_entropy")
    stack = StackedHeads(recipe, TRIALS, start())
    for number, (features, labels) in enumerate(shown):
        torch.manual_seed(number)
        stack.step(features, labels, loss_of)
    assert [trial.dropout for trial in stack.trials] == [0.0, 0.0, 0.2, 0.5]
    for trial, (weight, bias) in zip(stack.trials, stack.heads, strict=True):
        head = start()
        alone = recipe.optimizer.with_lr(trial.lr).build(head.parameters())
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
        torch.testing.assert_close(weight, head.weight, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(bias, head.bias, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_those_that_are_kept_go_on_as_if_nothing_had_happened(optimizer: str) -> None:
    recipe = resolved(optimizer)
    trials = [trial._replace(dropout=0.0) for trial in TRIALS]
    few, all_ = StackedHeads(recipe, trials, start()), StackedHeads(recipe, trials, start())
    for number, (features, labels) in enumerate(batches(8)):
        if number == 4:
            few.keep([3, 1])
        for stack in (few, all_):
            stack.step(features, labels, torch.nn.CrossEntropyLoss())
    assert few.trials == [all_.trials[1], all_.trials[3]]
    heads = list(all_.heads)
    for kept, of_all in zip(few.heads, (heads[1], heads[3]), strict=True):
        torch.testing.assert_close(kept, of_all, atol=1e-5, rtol=1e-5)
