"""Losses against their formulas and torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from models.catalog.losses import BinaryCrossEntropy, CrossEntropy, Focal, Loss
from models.catalog.recipe import Recipe
from models.catalog.technique import members

CLASSES = ["a", "b", "c"]
LABELS = torch.tensor([0, 1, 2, 2, 1, 0])
SEVERAL = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 1, 0], [1, 0, 0], [0, 1, 1]])
WEIGHTED = {"a": 3.0, "c": 0.5}
WEIGHTS = torch.tensor([3.0, 1.0, 0.5], dtype=torch.float64)

every_loss = pytest.mark.parametrize("technique", members(Loss))


def logits() -> torch.Tensor:
    """For six images of three classes, (6, 3)."""
    torch.manual_seed(0)
    return 2 * torch.randn(6, 3, dtype=torch.float64)


def value_of(loss: Loss, targets: torch.Tensor) -> float:
    """In double precision."""
    found: float = loss.build(CLASSES).double()(logits(), targets).item()
    return found


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_the_weighted_mean_of_its_formula(smoothing: float) -> None:
    targets = torch.full((6, 3), smoothing / 3, dtype=torch.float64)
    targets[torch.arange(6), LABELS] += 1 - smoothing
    expected = -(targets * WEIGHTS * logits().log_softmax(1)).sum() / WEIGHTS[LABELS].sum()
    found = value_of(CrossEntropy(label_smoothing=smoothing, class_weights=WEIGHTED), LABELS)
    assert found == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_is_the_weighted_mean_of_its_formula(gamma: float) -> None:
    p = logits().softmax(1)[torch.arange(6), LABELS]
    losses = -((1 - p) ** gamma) * p.log()
    assert value_of(Focal(gamma=gamma), LABELS) == pytest.approx(losses.mean().item(), rel=1e-6)
    weights = WEIGHTS[LABELS]
    expected = (weights * losses).sum() / weights.sum()
    assert value_of(Focal(gamma=gamma, class_weights=WEIGHTED), LABELS) == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTED])
def test_focal_without_focus_is_cross_entropy(weights: dict[str, float] | None) -> None:
    focal, entropy = Focal(gamma=0.0, class_weights=weights), CrossEntropy(class_weights=weights)
    assert value_of(focal, LABELS) == pytest.approx(value_of(entropy, LABELS), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 1.0, 2.0])
def test_focal_has_a_gradient_where_the_label_is_certain(gamma: float) -> None:
    sure = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    Focal(gamma=gamma).build(CLASSES)(sure, torch.tensor([0, 0])).backward()
    assert sure.grad.isfinite().all()
    assert sure.grad[0].abs().max() == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, WEIGHTED])
def test_binary_cross_entropy_is_the_mean_of_its_formula(smoothing: float, weights: dict[str, float] | None) -> None:
    y, z = SEVERAL.double() * (1 - smoothing) + smoothing / 2, logits()
    w = WEIGHTS if weights else torch.ones(3, dtype=torch.float64)
    expected = (-w * y * z.sigmoid().log() - (1 - y) * (1 - z.sigmoid()).log()).mean().item()
    loss = BinaryCrossEntropy(label_smoothing=smoothing, class_weights=weights)
    assert value_of(loss, SEVERAL.double()) == pytest.approx(expected, rel=1e-6)
    assert value_of(loss, SEVERAL) == pytest.approx(expected, rel=1e-6), "whatever the numbers' type"


def test_binary_cross_entropy_of_one_label_asks_for_each_class() -> None:
    loss = BinaryCrossEntropy(label_smoothing=0.1, class_weights=WEIGHTED)
    assert value_of(loss, LABELS) == value_of(loss, functional.one_hot(LABELS, 3).double())


@every_loss
def test_is_a_scalar_with_a_gradient(technique: type[Any]) -> None:
    given = logits().requires_grad_()
    loss = technique().build(CLASSES)(given, LABELS)
    loss.backward()
    assert loss.ndim == 0
    assert given.grad.abs().sum() > 0


@every_loss
def test_weights_follow_the_order_of_the_classes(technique: type[Any]) -> None:
    assert technique().build_weights(CLASSES) is None
    assert technique(class_weights=WEIGHTED).build_weights(CLASSES).tolist() == [3.0, 1.0, 0.5]
    assert technique(class_weights=WEIGHTED).build_weights(["c", "a"]).tolist() == [0.5, 3.0]


@pytest.mark.parametrize("technique", [CrossEntropy, Focal])
def test_automatic_weights_make_classes_count_the_same(technique: type[Any]) -> None:
    loss = technique(class_weights="auto").resolve({"a": 300, "b": 100}, 400)
    assert loss.class_weights == {"a": pytest.approx(400 / 600), "b": pytest.approx(2.0)}
    assert sum(loss.class_weights[name] * count for name, count in (("a", 300), ("b", 100))) == pytest.approx(400)
    assert technique(class_weights={"a": 3.0}).resolve({"a": 300, "b": 100}, 400).class_weights == {"a": 3.0}


def test_automatic_weights_of_binary_cross_entropy_make_yes_count_as_much_as_no() -> None:
    """Images with several labels count once: 40 of them have 70 labels here."""
    loss = BinaryCrossEntropy(class_weights="auto").resolve({"a": 10, "b": 20, "c": 40}, 40)
    assert loss.class_weights == {"a": 3.0, "b": 1.0, "c": 1 / 40}
    recipe = Recipe.model_validate({"loss": {"kind": "binary_cross_entropy", "class_weights": "auto"}})
    counts = {"a": 10, "b": 20, "c": 40}
    resolved = recipe.resolve(task="multi_label", image_size=32, num_features=9, class_counts=counts, images=40)
    assert resolved.loss == loss
