"""Training of a head against a plain loop of torch and against hand-computed steps."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from models.catalog.cache import Cache
from models.catalog.early_stopping import EarlyStopping
from models.catalog.heads import Linear
from models.catalog.losses import CrossEntropy
from models.catalog.optimizers import SGD, Adam
from models.catalog.regularizers import L2
from models.features.standardization import Standardization
from models.training.loop import Training, TrainingDiverged
from tests.support.small_training import train_small

if TYPE_CHECKING:
    from pathlib import Path

    from models.datasets.pack import Pack


def classifier(training: Training) -> tuple[torch.Tensor, torch.Tensor]:
    """(W, b) on plain features."""
    return training.model.standardize.fold(training.model.head.output)


def test_learns_and_reports_each_epoch(pack: Pack, tmp_path: Path) -> None:
    training, epochs = train_small(pack, tmp_path)
    assert [ended.epoch for ended in epochs] == [1, 2, 3, 4, 5, 6]
    assert [ended.view for ended in epochs] == [0, 1, 2, 0, 1, 2]
    assert [ended.cache_misses for ended in epochs] == [0, 60, 60, 0, 0, 0], "each view is computed once"
    assert [ended.cache_hits for ended in epochs] == [60, 0, 0, 60, 60, 60]
    assert epochs[-1].validation_loss < epochs[0].validation_loss < np.log(3)
    assert training.initial_accuracy == pytest.approx(1 / 3, abs=0.15)
    assert training.stop_reason == "epochs_done"


def test_a_second_run_reads_everything_and_ends_the_same(pack: Pack, tmp_path: Path) -> None:
    first, _ = train_small(pack, tmp_path)
    second, epochs = train_small(pack, tmp_path)
    assert sum(ended.cache_misses for ended in epochs) == 0
    for one, other in zip(classifier(first), classifier(second), strict=True):
        assert torch.equal(one, other)


def test_agrees_with_a_plain_loop_of_torch(pack: Pack, tmp_path: Path) -> None:
    """Without dropout, augmentation and early stopping it is what anybody would write."""
    choices = {
        "cache": Cache(views=0),
        "head": Linear(dropout=0.0),
        "optimizer": Adam(lr=0.01),
        "regularizers": (L2(strength=0.1),),
        "loss": CrossEntropy(label_smoothing=0.1, class_weights={"red": 2.0}),
        "early_stopping": None,
        "epochs": 3,
    }
    training, _ = train_small(pack, tmp_path, **choices)
    plain = torch.from_numpy(training.source.read_all(training.run.train.images, 0)).double()
    x = (plain - plain.mean(0)) / plain.std(0, correction=0)
    y = torch.from_numpy(training.run.train.labels)
    place = {int(image): row for row, image in enumerate(training.run.train.images)}
    linear = nn.Linear(12, 3, dtype=torch.float64)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    optimizer = torch.optim.Adam(linear.parameters(), lr=0.01)
    loss_of = nn.CrossEntropyLoss(torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64), label_smoothing=0.1)
    for order in _orders(training, epochs=3):
        for batch in itertools.batched(order, 16) if hasattr(itertools, "batched") else _batched(order, 16):
            rows = torch.tensor([place[int(image)] for image in batch])
            loss = loss_of(linear(x[rows]), y[rows]) + 0.05 * linear.weight.square().sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    weight, bias = classifier(training)
    deviation = plain.std(0, correction=0)
    torch.testing.assert_close(weight.double(), linear.weight.detach() / deviation, atol=2e-4, rtol=1e-3)
    expected = linear.bias.detach() - (linear.weight.detach() / deviation) @ plain.mean(0)
    torch.testing.assert_close(bias.double(), expected, atol=2e-4, rtol=1e-3)


def _orders(training: Training, epochs: int) -> list[np.ndarray]:
    """The order of images in each epoch, by its own seed."""
    orders = []
    for epoch in range(1, epochs + 1):
        seed = np.random.SeedSequence((training.recipe.seed, epoch)).generate_state(1, np.uint64)[0]
        torch.manual_seed(int(seed >> np.uint64(1)))
        orders.append(training.run.train.images[torch.randperm(len(training.run.train.images)).numpy()])
    return orders


def _batched(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[start : start + size] for start in range(0, len(order), size)]


def test_the_best_epoch_is_kept(pack: Pack, tmp_path: Path) -> None:
    """A rate that throws the weights about: the last epoch is not the best."""
    choices = {
        "optimizer": SGD(lr=20.0),
        "epochs": 12,
        "regularizers": (),
        "early_stopping": EarlyStopping(patience=12),
    }
    training, epochs = train_small(pack, tmp_path, **choices)
    losses = [ended.validation_loss for ended in epochs]
    assert training.best_epoch == 1 + int(np.argmin(losses))
    logits = torch.from_numpy(training.validation_logits)
    labels = torch.from_numpy(pack.labels)[np.setdiff1d(np.arange(90), training.run.train.images)]
    assert nn.functional.cross_entropy(logits, labels).item() == pytest.approx(min(losses), rel=1e-5)


def test_early_stopping_ends_after_its_patience(pack: Pack, tmp_path: Path) -> None:
    choices = {"optimizer": SGD(lr=20.0), "epochs": 50, "regularizers": (), "early_stopping": EarlyStopping(patience=3)}
    training, epochs = train_small(pack, tmp_path, **choices)
    assert training.stop_reason == "early_stopping"
    assert len(epochs) == training.best_epoch + 3


def test_divergence_is_said_by_name(pack: Pack, tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="smaller learning rate"):
        train_small(pack, tmp_path, optimizer=SGD(lr=1e30), regularizers=(L2(strength=1.0),))


def test_another_seed_gives_another_head(pack: Pack, tmp_path: Path) -> None:
    first, _ = train_small(pack, tmp_path, seed=0)
    second, _ = train_small(pack, tmp_path, seed=1)
    assert not torch.equal(classifier(first)[0], classifier(second)[0])


def test_standardization_folds_into_the_layer_that_follows() -> None:
    torch.manual_seed(0)
    features = torch.randn(40, 7) * torch.tensor([1e-3, 1, 5, 100, 2, 3, 1]) + 4
    standardize = Standardization.from_batches([features[:13], features[13:]])
    x = standardize(features)
    torch.testing.assert_close(x.mean(0), torch.zeros(7), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0)[1:], torch.ones(6))
    linear = nn.Linear(7, 3)
    weight, bias = standardize.fold(linear)
    torch.testing.assert_close(nn.functional.linear(features, weight, bias), linear(x), atol=1e-4, rtol=1e-4)


def test_a_feature_that_never_changes_stays_finite() -> None:
    features = torch.tensor([[1.0, 5.0], [2.0, 5.0]])
    assert torch.isfinite(Standardization.from_batches([features])(features)).all()
