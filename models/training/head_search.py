"""Head search: many linear heads are trained on the same features at once, the better half for twice as long."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from models.catalog.head_search import Trial
from models.catalog.mixup import FeatureAugmentation
from models.evaluation.metrics import count_correct
from models.messages import HeadsSearched
from models.messages import Trial as TrialFigures
from models.runtime.rng import seed_epoch
from models.training.stacked_heads import StackedHeads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.training.inputs import TrainingRun

SAMPLE = 4096
"""Most validation images on which trials are compared."""


@dataclass(frozen=True)
class TrialResult:
    """Metrics of a trial in its best epoch so far; infinite loss before the first."""

    trial: Trial
    epoch: int = 0
    """1, 2, …"""
    validation_loss: float = math.inf
    validation_accuracy: float = 0.0
    epochs: int = 0
    """Epochs that the trial was trained for."""

    def update(self, epoch: int, loss: float, accuracy: float) -> TrialResult:
        """Take another epoch into account."""
        if loss < self.validation_loss:  # and not NaN
            return TrialResult(self.trial, epoch, loss, accuracy, epoch)
        return replace(self, epochs=epoch)

    def to_message(self) -> TrialFigures:
        """Convert to a message, in which there is no infinity."""
        return TrialFigures(
            **self.trial._asdict(),
            epoch=self.epoch,
            epochs=self.epochs,
            validation_loss=self.validation_loss if math.isfinite(self.validation_loss) else None,
            validation_accuracy=self.validation_accuracy,
        )


def search_head(run: TrainingRun) -> tuple[TrainingRun, HeadsSearched]:
    """Replace the recipe's search by the choices of its best trial; returns the table of all trials too.

    The head keeps its initial weights, but takes the best trial's dropout.
    """
    recipe, search = run.recipe, run.recipe.search
    if search is None:
        raise ValueError("the recipe has no search")
    own = Trial(recipe.optimizer.rate, recipe.l2, recipe.head.dropout)
    results = _Halving(run).rank(search.draw_trials(own, np.random.default_rng(recipe.seed)))
    best = results[0]
    run.model.head.dropout.p = best.trial.dropout
    return replace(run, recipe=recipe.apply_trial(best.trial)), HeadsSearched(
        message=(
            f"Of {len(results)} heads the best has lr {best.trial.lr:g}, l2 {best.trial.l2:g}, dropout "
            f"{best.trial.dropout:g}: validation accuracy {best.validation_accuracy:.1%} in epoch {best.epoch}"
        ),
        trials=[result.to_message() for result in results],
    )


class _Halving:
    def __init__(self, run: TrainingRun) -> None:
        self.run, self.recipe, self.loss = run, run.recipe, run.build_loss()
        self._noises = [a for a in run.recipe.augmentations if isinstance(a, FeatureAugmentation)]
        validation = run.validation
        sample = np.random.default_rng(run.recipe.seed).permutation(len(validation.images))[:SAMPLE]
        self._features = run.model.compute_features(run.source, validation.images[sample])
        self._labels = torch.from_numpy(validation.labels[sample])

    def rank(self, trials: Sequence[Trial]) -> list[TrialResult]:
        """Train all trials, and rank them from the best: those trained for longer before those that were not.

        Ends when one is left, or when none that is left still improves.
        """
        stack = StackedHeads(self.recipe, trials, self.run.model.head.output)
        results = [TrialResult(trial) for trial in stack.trials]
        ended: list[TrialResult] = []
        epoch, until = 0, 1
        while True:
            while epoch < min(until, self.recipe.epochs) and self.run.stop_condition.reason is None:
                epoch += 1
                self._train(stack, epoch)
                results = self._validate(results, stack, epoch)
            ranked = sorted(range(len(results)), key=lambda place: results[place].validation_loss)
            has_improved = any(result.epoch > until // 2 for result in results)
            better = sorted(ranked[: (len(results) + 1) // 2])
            if len(results) == 1 or epoch < until or not has_improved:
                return [results[place] for place in ranked] + ended
            ended = [results[place] for place in ranked[len(better) :]] + ended
            results = [results[place] for place in better]
            stack.keep(better)
            until *= 2

    def _train(self, stack: StackedHeads, epoch: int) -> None:
        seed_epoch(self.recipe.seed, epoch)
        train, source, model = self.run.train, self.run.source, self.run.model
        targets = torch.from_numpy(train.labels)
        order = self.recipe.sampling.draw_order(targets)
        view = source.choose_view(epoch, self.recipe.cache.first)
        size, done = self.recipe.batch_size, 0
        for _, rows in source.read_batches(train.images[order.numpy()], view, size):
            features = model.forward_features(source.forward_trunk(source.to_input(rows)))
            for noise in self._noises:
                features = noise.perturb(features)
            stack.step(features, targets[order[done : done + size]], self.loss)
            done += size

    def _validate(self, results: Sequence[TrialResult], stack: StackedHeads, epoch: int) -> list[TrialResult]:
        updated = []
        with torch.no_grad():
            for result, (weight, bias) in zip(results, stack.heads, strict=True):
                logits = nn.functional.linear(self._features, weight, bias)
                loss = self.loss(logits, self._labels).item()
                accuracy = count_correct(logits, self._labels) / len(self._labels)
                updated.append(result.update(epoch, loss, accuracy))
        return updated
