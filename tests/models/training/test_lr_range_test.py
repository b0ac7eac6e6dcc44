"""The range test against the losses that trainings at each rate really reach."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from models.catalog.recipe import Recipe, ResolvedRecipe
from models.training import lr_range_test
from models.training.lr_range_test import PASSES, RATES, find_rate
from models.training.stacked_heads import StackedHeads

if TYPE_CHECKING:
    from models.catalog.head_search import Trial

CLASSES = ["a", "b", "c"]


def problem(features: int = 40, rows: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    """Standardized features of three classes that overlap, and their labels."""
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (rows,), generator=random)
    centres = torch.randn(3, features, generator=random) * 0.3
    x = centres[labels] + torch.randn(rows, features, generator=random)
    return (x - x.mean(0)) / x.std(0), labels


def resolved(optimizer: str, **choices: Any) -> ResolvedRecipe:
    """A recipe of ten epochs for them with its rate still open."""
    recipe = Recipe.model_validate({"optimizer": optimizer, "batch_size": 32, "epochs": 10, **choices})
    counts = dict.fromkeys(CLASSES, 200)
    return recipe.resolve(task="single_label", image_size=16, num_features=40, class_counts=counts, images=600)


def reached(recipe: ResolvedRecipe, rate: float, head: torch.nn.Module) -> float:
    """The smallest loss on the last quarter after one of ten passes over the others at a rate."""
    features, labels = problem()
    head = copy.deepcopy(head)
    optimizer = recipe.with_rate(rate).optimizer.build(head.parameters())
    loss_of = torch.nn.CrossEntropyLoss()
    losses: list[float] = []
    for _ in range(10):
        for start in range(0, 448, 32):
            loss = loss_of(head(features[start : start + 32]), labels[start : start + 32])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss_of(head(features[450:]), labels[450:]).item())
    return min(losses)


LINEAR = {"kind": "linear", "dropout": 0.0}
MLP = {"kind": "mlp", "hidden": [32, 16], "dropout": 0.0}


@pytest.mark.extended
@pytest.mark.parametrize("head", [LINEAR, MLP], ids=["linear", "mlp"])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "nadam"])
def test_the_rate_that_is_found_is_nearly_as_good_as_the_best_of_all(optimizer: str, head: dict[str, Any]) -> None:
    recipe = resolved(optimizer, head=head)
    torch.manual_seed(0)
    untrained = recipe.head.build(40, 3)
    rate = find_rate(recipe, untrained, torch.nn.CrossEntropyLoss(), *problem())
    best = min(reached(recipe, candidate, untrained) for candidate in RATES)
    start = reached(recipe, 1e-12, untrained)
    assert reached(recipe, rate, untrained) < best + 0.15 * (start - best)


@pytest.mark.parametrize("optimizer", ["momentum", "adagrad", "adam", "nadam"])
def test_trials_side_by_side_find_what_trials_one_by_one_find(optimizer: str) -> None:
    torch.manual_seed(0)
    head = resolved(optimizer, head={"kind": "linear", "dropout": 0.3}).head.build(40, 3)
    found = {
        find_rate(resolved(optimizer, head=kind), head, torch.nn.CrossEntropyLoss(), *problem())
        for kind in ("linear", "cosine")  # of another kind, the same head is tried one by one
    }
    assert len(found) == 1


def test_training_four_times_as_long_halves_the_rate() -> None:
    head = resolved("adam").head.build(40, 3)

    def found(epochs: int) -> float:
        return find_rate(resolved("adam", epochs=epochs), head, torch.nn.CrossEntropyLoss(), *problem())

    assert found(4 * PASSES) == pytest.approx(found(PASSES) / 2, rel=0.05)
    assert found(1) == found(PASSES)


def test_hidden_layers_that_stop_early_keep_the_rate_however_many_epochs_they_may_have() -> None:
    """They took a tenth of it for 200 epochs that never came, and so ten times as many as they need."""

    def found(epochs: int, **choices: Any) -> float:
        recipe = resolved("adam", epochs=epochs, head=MLP, **choices)
        torch.manual_seed(0)
        return find_rate(recipe, recipe.head.build(40, 3), torch.nn.CrossEntropyLoss(), *problem())

    assert found(200) == found(PASSES)
    assert found(200, early_stopping=None) == pytest.approx(found(PASSES) / 10, rel=0.05)


def test_where_no_trial_learns_the_rate_is_large() -> None:
    recipe = resolved("sgd", epochs=PASSES, head={"kind": "mlp", "hidden": [8] * 20, "activation": "sigmoid"})
    assert find_rate(recipe, recipe.head.build(40, 3), torch.nn.CrossEntropyLoss(), *problem()) >= 0.01


def test_a_head_that_is_broken_from_the_start_gets_the_smallest_rate() -> None:
    recipe = resolved("sgd", epochs=PASSES)
    head = recipe.head.build(40, 3)
    torch.nn.init.constant_(head.output.weight, float("nan"))
    assert find_rate(recipe, head, torch.nn.CrossEntropyLoss(), *problem()) == RATES[0]


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


def test_where_memory_is_short_fewer_trials_are_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack of all rates took 13 GB for a dataset of 15,000 classes."""
    recipe = resolved("adam")
    head = recipe.head.build(40, 3)
    expected = find_rate(recipe, head, torch.nn.CrossEntropyLoss(), *problem())
    made: list[int] = []

    class Counted(StackedHeads):
        """Counts its heads."""

        def __init__(self, recipe: ResolvedRecipe, trials: list[Trial], start: torch.nn.Linear) -> None:
            made.append(len(trials))
            super().__init__(recipe, trials, start)

    monkeypatch.setattr(lr_range_test, "StackedHeads", Counted)
    monkeypatch.setattr(lr_range_test, "MOST_WEIGHTS", 5 * head.output.weight.numel())
    assert find_rate(recipe, head, torch.nn.CrossEntropyLoss(), *problem()) == expected
    assert made[:2] == [5, 5], "and no more than needed, once a loss is far too large"


def imbalanced(rare: int, common: int = 200, features: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes that differ a little in each of many features, the rare ones at random places."""
    random = torch.Generator().manual_seed(0)
    labels = (torch.randperm(rare + common, generator=random) < rare).long()
    x = torch.randn(len(labels), features, generator=random) + 0.3 * labels.unsqueeze(1)
    return (x - x.mean(0)) / x.std(0), labels


@pytest.mark.parametrize("rare", [2, 10, 20])
def test_the_smallest_rates_are_not_taken_because_one_class_is_rare(rare: int) -> None:
    recipe = resolved("adam", epochs=PASSES)
    head = recipe.head.build(400, 2)
    x, y = imbalanced(rare)
    with torch.no_grad():
        head.output.bias.copy_((y.bincount() / len(y)).log())
    assert find_rate(recipe, head, torch.nn.CrossEntropyLoss(), x, y) >= 1e-4


@pytest.mark.parametrize("counts", [(200, 10), (40, 4, 1), (30, 30, 30)])
def test_images_held_out_have_as_many_of_each_class(counts: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat(np.arange(len(counts)), counts))
    order = lr_range_test._stratify(labels, random)
    assert sorted(order) == list(range(len(labels)))
    held_out = np.bincount(labels[order[: lr_range_test.count_held_out(len(labels))]], minlength=len(counts))
    assert all(abs(held - count / 4) <= 1 for held, count in zip(held_out, counts, strict=True))
    assert held_out.sum() == sum(counts) // 4
