"""Training of a new head on a frozen trunk's features."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from models.events import EpochEnded
from models.features import READ_BATCH

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from models.catalog.recipe import Recipe
    from models.features import Features


class TrainingDiverged(Exception):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class Examples:
    """Pictures, by their places in the dataset, with their labels: two arrays of shape (n,)."""

    pictures: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Step:
    """One step of the optimizer is done: how many pictures it took, and how many of them had to be computed."""

    pictures: int
    computed: int


@dataclass(frozen=True)
class Standardization:
    """x ↦ (x - mean) / deviation, feature by feature: a head then learns equally fast from all of them.

    It is not delivered: `fold` takes it into the weights of the linear layer that follows.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    @classmethod
    def of(cls, batches: Iterable[np.ndarray]) -> Standardization:
        """That of features that come in batches (n, D), so that they need not lie in memory together."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for batch in batches:
            rows = torch.from_numpy(batch).double()
            count, total, squares = count + len(rows), total + rows.sum(0), squares + rows.square().sum(0)
        mean, square = total / count, squares / count
        deviation = (square - mean.square()).clamp_min(0).sqrt()
        # A feature that hardly moves is not blown up to the size of the others.
        least = 1e-3 * (square.mean() - mean.mean().square()).clamp_min(1e-24).sqrt()
        return cls(mean.float(), deviation.clamp_min(least).float())

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return (features - self.mean) / self.deviation

    def fold(self, linear: torch.nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
        """(W, b) with W·x + b = linear(standardized x), computed in double precision."""
        weight = linear.weight.detach().double() / self.deviation.double()
        bias = linear.bias.detach().double() - weight @ self.mean.double()
        return weight.float(), bias.float()


class HeadTraining:
    """One run of training: iterate over `epochs()`, then ask for what the best epoch gave."""

    def __init__(
        self, recipe: Recipe, classes: list[str], features: Features, train: Examples, validation: Examples
    ) -> None:
        """Needs a resolved recipe, and view 0 of all pictures in the cache."""
        self.recipe, self.features, self.train = recipe, features, train
        self.standardize = Standardization.of(rows for _, rows in features.batches(train.pictures, 0, READ_BATCH))
        self._labels = torch.zeros(int(train.pictures.max()) + 1, dtype=torch.long)
        self._labels[torch.from_numpy(train.pictures)] = torch.from_numpy(train.labels)
        self._validation = self.standardize(torch.from_numpy(features.all(validation.pictures, 0)).float())
        self._validation_labels = torch.from_numpy(validation.labels)
        torch.manual_seed(recipe.seed)
        self.head = recipe.head.build(len(self.standardize.mean), len(classes))
        self.loss = recipe.loss.build(classes)
        self.optimizer = recipe.optimizer.build(self.head.parameters())
        self.best_epoch = 0
        self.initial_accuracy = self._validate()[1]
        self.stop_reason: Literal["epochs_done", "early_stopping"] = "epochs_done"
        self._best: float | None = None
        self._best_state = copy.deepcopy(self.head.state_dict())

    def epochs(self) -> Iterator[Step | EpochEnded]:
        """Train until the last epoch or early stopping; the head is then that of the best epoch.

        Gives each step and, after the steps of an epoch, the epoch.

        Raises TrainingDiverged.
        """
        assert isinstance(self.recipe.epochs, int)
        for epoch in range(1, self.recipe.epochs + 1):
            ended = yield from self._epoch(epoch)
            self._keep_if_best(ended)
            yield ended
            stopping = self.recipe.early_stopping
            if stopping is not None and epoch - self.best_epoch >= stopping.patience:
                self.stop_reason = "early_stopping"
                break
        self.head.load_state_dict(self._best_state)

    def classifier(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(W (C, D), b (C,)) on plain features: the head of the best epoch, its standardization folded in."""
        linear = self.head[-1]
        assert isinstance(linear, torch.nn.Linear)
        return self.standardize.fold(linear)

    def validation_logits(self) -> np.ndarray:
        """What the head says about the validation pictures, (n, C)."""
        self.head.eval()
        with torch.inference_mode():
            logits: np.ndarray = self.head(self._validation).numpy()
        return logits

    def _epoch(self, epoch: int) -> Generator[Step, None, EpochEnded]:
        began = time.perf_counter()
        view = (epoch - 1) % (self.recipe.cache.views + 1)
        before = replace(self.features.counts)
        # Each epoch draws from a generator of its own, so that it does not depend on what was drawn before.
        torch.manual_seed(int(np.random.SeedSequence((self.recipe.seed, epoch)).generate_state(1, np.uint64)[0] >> 1))
        order = self.train.pictures[torch.randperm(len(self.train.pictures)).numpy()]
        assert isinstance(self.recipe.batch_size, int)
        self.head.train()
        loss_sum = correct = 0.0
        computed = 0
        for pictures, rows in self.features.batches(order, view, self.recipe.batch_size):
            labels = self._labels[torch.from_numpy(pictures)]
            loss, logits = self._step(self.standardize(torch.from_numpy(rows).float()), labels)
            loss_sum += loss.item() * len(labels)
            correct += (logits.argmax(1) == labels).sum().item()
            now = self.features.counts
            yield Step(len(labels), now.misses - before.misses - computed)
            computed = now.misses - before.misses
        validation_loss, validation_accuracy = self._validate()
        if not np.isfinite([loss_sum, validation_loss]).all():
            raise TrainingDiverged(
                f"The loss became infinite or NaN in epoch {epoch}; choose a smaller learning rate (optimizer.lr)."
            )
        return EpochEnded(
            epoch=epoch,
            view=view,
            train_loss=loss_sum / len(order),
            train_accuracy=correct / len(order),
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            lr=self.optimizer.param_groups[0]["lr"],
            seconds=time.perf_counter() - began,
            cache_hits=self.features.counts.hits - before.hits,
            cache_misses=self.features.counts.misses - before.misses,
        )

    def _step(self, features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = self.head(features)
        loss: torch.Tensor = self.loss(logits, labels)
        total = loss
        for regularizer in self.recipe.regularizers:
            total = total + regularizer.penalty(self.head)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach(), logits.detach()

    def _validate(self) -> tuple[float, float]:
        logits = torch.from_numpy(self.validation_logits())
        loss = float(self.loss(logits, self._validation_labels))
        return loss, (logits.argmax(1) == self._validation_labels).float().mean().item()

    def _keep_if_best(self, ended: EpochEnded) -> None:
        stopping = self.recipe.early_stopping
        if stopping is None:
            better, value = True, ended.validation_loss
        else:
            value = getattr(ended, stopping.metric)
            better = stopping.improved(value, self._best)
        if better:
            self._best, self.best_epoch = value, ended.epoch
            self._best_state = copy.deepcopy(self.head.state_dict())
