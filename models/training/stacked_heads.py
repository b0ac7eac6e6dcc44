"""Stacked linear heads: many heads trained at once, each with a learning rate, an L2 penalty and a dropout of its own.

Their weights are stacked, so that one product gives the logits of all heads of the same dropout: these get the same
batches, in the same order, with the same masks.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import nn

from models.nn.layers import Dropout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.catalog.head_search import Trial
    from models.catalog.recipe import ResolvedRecipe


class StackedHeads:
    """Linear heads that start from the same weights, sorted by dropout.

    Each takes the steps that it would take alone, but that heads of the same dropout share its mask.
    """

    def __init__(self, recipe: ResolvedRecipe, trials: Sequence[Trial], start: nn.Linear) -> None:
        self.trials = sorted(trials, key=lambda trial: trial.dropout)
        self._classes = start.out_features
        self._weight = nn.Parameter(start.weight.detach().repeat(len(trials), 1))
        self._bias = nn.Parameter(start.bias.detach().repeat(len(trials)))
        # All optimizers move a weight by its rate times something that does not depend on the rate.
        self._optimizer = recipe.optimizer.with_lr(1.0).build([self._weight, self._bias])
        self._spread_choices()

    def step(self, features: torch.Tensor, labels: torch.Tensor, loss_of: nn.Module) -> None:
        """Do one step of each head on standardized features (B, D) with their labels."""
        losses = torch.vmap(loss_of, (0, None))(self._logits(features), labels)
        penalties = self._weight.view(len(self.trials), -1).square().sum(1) * self._strengths / 2
        self._optimizer.zero_grad(set_to_none=True)
        (losses + penalties).sum().backward()
        before = [parameter.detach().clone() for parameter in (self._weight, self._bias)]
        self._optimizer.step()
        with torch.no_grad():
            for parameter, old, rates in zip((self._weight, self._bias), before, self._rates, strict=True):
                parameter.copy_(torch.lerp(old, parameter, rates))

    @property
    def heads(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Weight (C, D) and bias (C,) of each head."""
        return zip(torch.split(self._weight, self._classes), torch.split(self._bias, self._classes), strict=True)

    def _logits(self, features: torch.Tensor) -> torch.Tensor:
        """Compute the logits of K heads for features (B, D) in training: (K, B, C)."""
        logits, first = [], 0
        for dropout, alike in groupby(self.trials, key=lambda trial: trial.dropout):
            last = first + len(list(alike)) * self._classes
            kept = Dropout(dropout)(features)
            logits.append(nn.functional.linear(kept, self._weight[first:last], self._bias[first:last]))
            first = last
        return torch.cat(logits, 1).view(-1, len(self.trials), self._classes).movedim(1, 0)

    def keep(self, places: Sequence[int]) -> None:
        """Keep the heads at these indices, and drop all others."""
        rows = torch.tensor([place * self._classes + row for place in sorted(places) for row in range(self._classes)])
        self.trials = [self.trials[place] for place in sorted(places)]
        for parameter in (self._weight, self._bias):
            state = self._optimizer.state[parameter]
            for name, tensor in state.items():
                if isinstance(tensor, torch.Tensor) and tensor.shape == parameter.shape:
                    state[name] = tensor[rows]
            parameter.grad = None
            parameter.data = parameter.data[rows]
        self._spread_choices()

    def _spread_choices(self) -> None:
        rates = torch.tensor([trial.lr for trial in self.trials]).repeat_interleave(self._classes)
        self._rates = rates.unsqueeze(1), rates
        self._strengths = torch.tensor([trial.l2 for trial in self.trials])
