"""Search: trains many linear heads on the same features at once, and finds whose choices are best."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from models.catalog.head_search import Trial
from models.catalog.mixup import FeatureAugmentation
from models.evaluation.metrics import right
from models.messages import HeadsSearched
from models.messages import Trial as TrialRow
from models.nn.layers import Dropout
from models.runtime.rng import seed_epoch
from models.runtime.stop_condition import NONE
from models.training.stacked_heads import StackedHeads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.catalog.recipe import Recipe
    from models.features.sources import FeatureSource
    from models.runtime.stop_condition import StopCondition
    from models.training.model import TrainableModel
    from models.training.subset import Subset

SAMPLE = 4096
"""Images to validate on, at most, by which trials are judged."""


@dataclass(frozen=True)
class Judged:
    """How a trial did in its best epoch so far; of none, nothing is known."""

    trial: Trial
    epoch: int = 0
    """1, 2, …"""
    validation_loss: float = math.inf
    validation_accuracy: float = 0.0
    epochs: int = 0
    """For which it was trained."""

    def after(self, epoch: int, loss: float, accuracy: float) -> Judged:
        """The same, one epoch later."""
        if loss < self.validation_loss:  # and not NaN
            return Judged(self.trial, epoch, loss, accuracy, epoch)
        return replace(self, epochs=epoch)

    def row(self) -> TrialRow:
        """As JSON, which has no infinity."""
        loss = self.validation_loss if math.isfinite(self.validation_loss) else None
        return TrialRow(
            **self.trial._asdict(),
            epoch=self.epoch,
            epochs=self.epochs,
            validation_loss=loss,
            validation_accuracy=self.validation_accuracy,
        )


def search(
    recipe: Recipe,
    classes: list[str],
    model: TrainableModel,
    source: FeatureSource,
    train: Subset,
    validation: Subset,
    stop_condition: StopCondition = NONE,
) -> tuple[Recipe, HeadsSearched]:
    """The recipe, resolved, with the best trial's choices in place of its search; and the table of all trials.

    The head is left as it is before its first step, but for its dropout.
    """
    assert recipe.search is not None
    assert recipe.head.kind == "linear"
    own = Trial(recipe.optimizer.rate, recipe.l2, recipe.head.dropout)
    trials = recipe.search.draw_trials(own, np.random.default_rng(recipe.seed))
    judged = _Halving(recipe, classes, model, source, train, validation).run(trials, stop_condition)
    best = judged[0]
    dropout = model.head[0]
    assert isinstance(dropout, Dropout)
    dropout.p = best.trial.dropout
    return recipe.found(best.trial), HeadsSearched(
        message=(
            f"Of {len(judged)} heads the best has lr {best.trial.lr:g}, l2 {best.trial.l2:g}, dropout "
            f"{best.trial.dropout:g}: validation accuracy {best.validation_accuracy:.1%} in epoch {best.epoch}"
        ),
        trials=[found.row() for found in judged],
    )


class _Halving:
    def __init__(
        self,
        recipe: Recipe,
        classes: list[str],
        model: TrainableModel,
        source: FeatureSource,
        train: Subset,
        validation: Subset,
    ) -> None:
        self.recipe, self.model, self.source, self.train = recipe, model, source, train
        assert recipe.loss != "auto"
        self.loss = recipe.loss.build(classes)
        self._noises = [a for a in recipe.augmentations if isinstance(a, FeatureAugmentation)]
        judges = np.random.default_rng(recipe.seed).permutation(len(validation.images))[:SAMPLE]
        self._shown = model.sample(source, validation.images[judges])
        self._known = torch.from_numpy(validation.labels[judges])

    def run(self, trials: Sequence[Trial], stop_condition: StopCondition) -> list[Judged]:
        """All trials, the best first: those that were trained for longer before those that were not.

        It ends when one is left, or when those that are left have learned all they can.
        """
        start = self.model.head[-1]
        assert isinstance(start, nn.Linear)
        stack = StackedHeads(self.recipe, trials, start)
        judged = [Judged(trial) for trial in stack.trials]
        ended: list[Judged] = []
        epoch, until = 0, 1
        while True:
            while epoch < min(until, self.recipe.most_epochs) and stop_condition.reason is None:
                epoch += 1
                self._train(stack, epoch)
                judged = self._judged(judged, stack, epoch)
            ranked = sorted(range(len(judged)), key=lambda place: judged[place].validation_loss)
            has_improved = any(one.epoch > until // 2 for one in judged)
            better = sorted(ranked[: (len(judged) + 1) // 2])
            if len(judged) == 1 or epoch < until or not has_improved:
                return [judged[place] for place in ranked] + ended
            ended = [judged[place] for place in ranked[len(better) :]] + ended
            judged = [judged[place] for place in better]
            stack.keep(better)
            until *= 2

    def _train(self, stack: StackedHeads, epoch: int) -> None:
        seed_epoch(self.recipe.seed, epoch)
        targets = torch.from_numpy(self.train.labels)
        order = self.recipe.sampling.draw_order(targets)
        view = self.source.view(epoch, self.recipe.cache.first)
        size, done = self.recipe.images_per_step, 0
        for _, rows in self.source.batches(self.train.images[order.numpy()], view, size):
            features = self.model.features(self.source.at_cut(self.source.given(rows)))
            for noise in self._noises:
                features = noise.perturb(features)
            stack.step(features, targets[order[done : done + size]], self.loss)
            done += size

    def _judged(self, before: Sequence[Judged], stack: StackedHeads, epoch: int) -> list[Judged]:
        after = []
        with torch.no_grad():
            for one, (weight, bias) in zip(before, stack.heads(), strict=True):
                logits = nn.functional.linear(self._shown, weight, bias)
                loss = self.loss(logits, self._known).item()
                after.append(one.after(epoch, loss, right(logits, self._known) / len(self._known)))
        return after
