"""Techniques against hand-computed steps, torch's own, and their distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from models.catalog.augmentations import Colour, Crop, HorizontalFlip, Rotate
from models.catalog.early_stopping import EarlyStopping
from models.catalog.heads import Linear
from models.catalog.losses import CrossEntropy
from models.catalog.optimizers import SGD, Adam, AdamW, Momentum, Nesterov, Optimizer
from models.catalog.regularizers import L2
from tests.pictures import noise

GRADIENTS = [0.5, -2.0, 1.0]
START = 3.0


def stepped(optimizer: Optimizer) -> list[float]:
    """The weight after each of three steps with known gradients."""
    weight = nn.Parameter(torch.tensor([START]))
    steps = optimizer.build([weight])
    values = []
    for gradient in GRADIENTS:
        weight.grad = torch.tensor([gradient])
        steps.step()
        values.append(weight.item())
    return values


def by_hand(optimizer: Optimizer) -> list[float]:
    """The same from the formula of the docstring."""
    weight, velocity, mean, square = START, 0.0, 0.0, 0.0
    values = []
    for number, gradient in enumerate(GRADIENTS, 1):
        match optimizer:
            case SGD(lr=lr):
                weight -= lr * gradient
            case Momentum(lr=lr, momentum=momentum):
                velocity = momentum * velocity + gradient
                weight -= lr * velocity
            case Nesterov(lr=lr, momentum=momentum):
                velocity = momentum * velocity + gradient
                weight -= lr * (gradient + momentum * velocity)
            case Adam(lr=lr) | AdamW(lr=lr):
                mean = optimizer.beta1 * mean + (1 - optimizer.beta1) * gradient
                square = optimizer.beta2 * square + (1 - optimizer.beta2) * gradient**2
                corrected = mean / (1 - optimizer.beta1**number)
                scale = math.sqrt(square / (1 - optimizer.beta2**number)) + optimizer.epsilon
                decay = optimizer.weight_decay * weight if isinstance(optimizer, AdamW) else 0.0
                weight -= lr * (corrected / scale + decay)
        values.append(weight)
    return values


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(lr=0.1),
        Momentum(lr=0.1),
        Nesterov(lr=0.1),
        Adam(lr=0.1),
        AdamW(lr=0.1, weight_decay=0.3),
        Adam(lr=0.1, beta1=0.5),
    ],
)
def test_optimizers_step_as_their_formula_says(optimizer: Optimizer) -> None:
    assert stepped(optimizer) == pytest.approx(by_hand(optimizer), rel=1e-6)


def test_l2_is_half_the_squares_of_the_weights_without_biases() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    expected = 0.35 * network[0].weight.square().sum()
    torch.testing.assert_close(L2(strength=0.7).penalty(network), expected)


def test_cross_entropy_is_the_weighted_mean_of_its_formula() -> None:
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    loss = CrossEntropy(label_smoothing=0.2, class_weights={"a": 3.0}).build(["a", "b", "c"])
    log_probabilities = logits.log_softmax(1)
    weights = torch.tensor([3.0, 1.0, 1.0])
    targets = torch.full((6, 3), 0.2 / 3)
    targets[torch.arange(6), labels] += 0.8
    expected = -(targets * weights * log_probabilities).sum() / weights[labels].sum()
    torch.testing.assert_close(loss(logits, labels), expected)


def test_the_linear_head_starts_at_zero_and_drops_the_share_it_says() -> None:
    head = Linear(dropout=0.3).build(1000, 4)
    assert head(torch.randn(2, 1000)).abs().max() == 0
    torch.manual_seed(0)
    dropped = head[0](torch.ones(200, 1000))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.01)


def test_early_stopping_counts_only_real_improvements() -> None:
    loss, accuracy = EarlyStopping(min_delta=0.1), EarlyStopping(metric="validation_accuracy")
    assert loss.improved(1.0, None)
    assert loss.improved(0.85, 1.0)
    assert not loss.improved(0.95, 1.0)
    assert accuracy.improved(0.6, 0.5)
    assert not accuracy.improved(0.5, 0.5)


def test_crops_have_the_areas_and_shapes_that_they_say() -> None:
    random = np.random.default_rng(0)
    image = Image.new("RGB", (400, 400))
    parts = [Crop(min_area=0.25, max_aspect=2.0).apply(image, random) for _ in range(2000)]
    areas = np.array([part.width * part.height for part in parts]) / (400 * 400)
    assert areas.max() <= 1.0
    assert areas.min() > 0.2
    fit = [part for part in parts if max(part.size) < 400]
    aspects = np.array([part.width / part.height for part in fit])
    assert (aspects > 0.48).all()
    assert (aspects < 2.05).all()
    assert np.log(aspects).mean() == pytest.approx(0.0, abs=0.06)


def test_flips_happen_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    image = noise(1)
    mirrored = np.asarray(image)[:, ::-1]
    flipped = 0
    for _ in range(1000):
        found = np.asarray(HorizontalFlip(probability=0.3).apply(image, random))
        is_mirrored = bool((found == mirrored).all())
        assert is_mirrored or (found == np.asarray(image)).all()
        flipped += is_mirrored
    assert flipped == pytest.approx(300, abs=45)


def test_colours_change_within_their_strengths() -> None:
    random = np.random.default_rng(0)
    grey = Image.new("RGB", (8, 8), (100, 100, 100))
    bright = Colour(brightness=0.4, contrast=0.0, saturation=0.0)
    values = np.array([np.asarray(bright.apply(grey, random)).mean() for _ in range(2000)])
    assert values.min() >= 59
    assert values.max() <= 140
    assert values.mean() == pytest.approx(100, abs=2)
    assert values.std() == pytest.approx(80 / math.sqrt(12), abs=2)


def test_rotations_stay_within_their_degrees() -> None:
    image = Image.new("RGB", (65, 65))
    image.paste((255, 255, 255), (32, 0, 33, 32))
    angles = []
    random = np.random.default_rng(0)
    for _ in range(200):
        turned = np.asarray(Rotate(degrees=30.0).apply(image, random).convert("L"), float)
        turned = np.where(turned > 120, turned, 0.0)
        rows, columns = np.mgrid[:65, :65] - 32
        angles.append(math.degrees(math.atan2((turned * columns).sum(), -(turned * rows).sum())))
    assert max(map(abs, angles)) < 31
    assert np.std(angles) == pytest.approx(60 / math.sqrt(12), abs=3)
