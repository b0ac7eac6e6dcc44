"""Search: trains many linear heads on the same features at once, and finds whose choices are best.

The heads lie on top of each other, so that one product gives the logits of all whose dropout is the same: they see the
same batches, in the same order, through the same masks.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from models.catalog.mixing import FeatureAugmentation
from models.catalog.search import Trial
from models.evaluation import right
from models.events import Noted
from models.layers import Dropout
from models.reproducibility import seed_epoch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.catalog.recipe import Recipe
    from models.examples import Examples
    from models.features import Source
    from models.grafted import Grafted


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

    def row(self) -> dict[str, Any]:
        """As JSON, which has no infinity."""
        loss = self.validation_loss if math.isfinite(self.validation_loss) else None
        figures = {name: getattr(self, name) for name in ("epoch", "validation_accuracy", "epochs")}
        return {**self.trial._asdict(), **figures, "validation_loss": loss}


def search(
    recipe: Recipe,
    classes: list[str],
    grafted: Grafted,
    source: Source,
    train: Examples,
    validation: Examples,
    deadline: float = math.inf,
) -> tuple[Recipe, Noted]:
    """The recipe, resolved, with the best trial's choices in place of its search; and the table of all trials.

    The head is left as it is before its first step, but for its dropout. `deadline` is a time of time.monotonic().
    """
    assert recipe.search is not None
    assert recipe.head.kind == "linear"
    own = Trial(recipe.optimizer.rate, recipe.l2, recipe.head.dropout)
    trials = recipe.search.drawn(own, np.random.default_rng(recipe.seed))
    judged = _Halving(recipe, classes, grafted, source, train, validation).run(trials, deadline)
    best = judged[0]
    dropout = grafted.head[0]
    assert isinstance(dropout, Dropout)
    dropout.p = best.trial.dropout
    return recipe.found(best.trial), Noted(
        kind="searched",
        message=(
            f"Of {len(judged)} heads the best has lr {best.trial.lr:g}, l2 {best.trial.l2:g}, dropout "
            f"{best.trial.dropout:g}: validation accuracy {best.validation_accuracy:.1%} in epoch {best.epoch}"
        ),
        data={"trials": [found.row() for found in judged]},
    )


class Stack:
    """Linear heads of the same start, sorted by dropout, each with a rate, a penalty and a dropout of its own.

    A step of each is the one that it would make alone, but that heads of the same dropout share its mask.
    """

    def __init__(self, recipe: Recipe, trials: Sequence[Trial], start: nn.Linear) -> None:
        self.trials = sorted(trials, key=lambda trial: trial.dropout)
        self._classes = start.out_features
        self._weight = nn.Parameter(start.weight.detach().repeat(len(trials), 1))
        self._bias = nn.Parameter(start.bias.detach().repeat(len(trials)))
        # All optimizers move a weight by its rate times something that does not depend on the rate.
        self._optimizer = recipe.optimizer.at(1.0).build([self._weight, self._bias])
        self._take_numbers()

    def step(self, features: torch.Tensor, labels: torch.Tensor, loss_of: nn.Module) -> None:
        """One step of each on standardized features (B, D) with their labels."""
        losses = torch.vmap(loss_of, (0, None))(self.logits(features, is_training=True), labels)
        penalties = self._weight.view(len(self.trials), -1).square().sum(1) * self._strengths / 2
        self._optimizer.zero_grad(set_to_none=True)
        (losses + penalties).sum().backward()
        before = [parameter.detach().clone() for parameter in (self._weight, self._bias)]
        self._optimizer.step()
        with torch.no_grad():
            for parameter, old, rates in zip((self._weight, self._bias), before, self._rates, strict=True):
                parameter.copy_(torch.lerp(old, parameter, rates))

    def logits(self, features: torch.Tensor, *, is_training: bool = False) -> torch.Tensor:
        """What each says of features (B, D): (K, B, C)."""
        parts, first = [], 0
        for dropout, alike in groupby(self.trials, key=lambda trial: trial.dropout):
            last = first + len(list(alike)) * self._classes
            seen = Dropout(dropout)(features) if is_training else features
            parts.append(nn.functional.linear(seen, self._weight[first:last], self._bias[first:last]))
            first = last
        return torch.cat(parts, 1).view(-1, len(self.trials), self._classes).movedim(1, 0)

    def keep(self, places: Sequence[int]) -> None:
        """Go on with these alone."""
        rows = torch.tensor([place * self._classes + row for place in sorted(places) for row in range(self._classes)])
        self.trials = [self.trials[place] for place in sorted(places)]
        for parameter in (self._weight, self._bias):
            state = self._optimizer.state[parameter]
            for name, tensor in state.items():
                if isinstance(tensor, torch.Tensor) and tensor.shape == parameter.shape:
                    state[name] = tensor[rows]
            parameter.grad = None
            parameter.data = parameter.data[rows]
        self._take_numbers()

    def _take_numbers(self) -> None:
        rates = torch.tensor([trial.lr for trial in self.trials]).repeat_interleave(self._classes)
        self._rates = rates.unsqueeze(1), rates
        self._strengths = torch.tensor([trial.l2 for trial in self.trials])


class _Halving:
    def __init__(
        self,
        recipe: Recipe,
        classes: list[str],
        grafted: Grafted,
        source: Source,
        train: Examples,
        validation: Examples,
    ) -> None:
        self.recipe, self.grafted, self.source, self.train = recipe, grafted, source, train
        assert recipe.loss != "auto"
        self.loss = recipe.loss.build(classes)
        self._noises = [a for a in recipe.augmentations if isinstance(a, FeatureAugmentation)]
        self._shown = grafted.sample(source, validation.pictures)
        self._known = torch.from_numpy(validation.labels)

    def run(self, trials: Sequence[Trial], deadline: float) -> list[Judged]:
        """All trials, the best first: those that were trained for longer before those that were not.

        It ends when one is left, or when those that are left have learned all they can.
        """
        start = self.grafted.head[-1]
        assert isinstance(start, nn.Linear)
        stack = Stack(self.recipe, trials, start)
        judged = [Judged(trial) for trial in stack.trials]
        ended: list[Judged] = []
        epoch, until = 0, 1
        while True:
            while epoch < min(until, self.recipe.most_epochs) and time.monotonic() < deadline:
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

    def _train(self, stack: Stack, epoch: int) -> None:
        seed_epoch(self.recipe.seed, epoch)
        targets = torch.from_numpy(self.train.labels)
        order = self.recipe.sampling.order(targets)
        view = self.source.view(epoch, self.recipe.cache.first)
        size, done = self.recipe.pictures_per_step, 0
        for _, rows in self.source.batches(self.train.pictures[order.numpy()], view, size):
            features = self.grafted.features(self.source.at_cut(self.source.given(rows)))
            for noise in self._noises:
                features = noise.disturb(features)
            stack.step(features, targets[order[done : done + size]], self.loss)
            done += size

    def _judged(self, before: Sequence[Judged], stack: Stack, epoch: int) -> list[Judged]:
        with torch.no_grad():
            logits = stack.logits(self._shown)
            losses = torch.vmap(self.loss, (0, None))(logits, self._known)
        return [
            one.after(epoch, loss, right(said, self._known) / len(self._known))
            for one, loss, said in zip(before, losses.tolist(), logits, strict=True)
        ]
