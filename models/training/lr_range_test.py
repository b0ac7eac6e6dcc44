"""The learning rate range test: short trials at ever larger rates show which one learns fastest (after Smith, 2017).

Smith's raises the rate from step to step. Here each rate starts anew, and is judged by images that it did not see: a
head with few weights fits what it has seen at rates that are much too large for the others.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from models.catalog.head_search import Trial
from models.nn.layers import Dropout
from models.training.stacked_heads import StackedHeads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.catalog.recipe import Recipe
    from models.features.sources import FeatureSource
    from models.training.model import TrainableModel
    from models.training.subset import Subset

SAMPLE = 1024
"""Images that it looks at."""
PASSES = 2
"""How often each trial goes through what it learns from."""
HELD_OUT = 4
"""One in so many images is what it is judged by."""
RATES = [10 ** (exponent / 2) for exponent in range(-12, 4)]
"""From 1e-6 to 30, two in a decade."""
TOO_MUCH = 4.0
"""A loss so many times the smallest ends the test."""
AS_GOOD = 1.01
"""A loss up to so many times the smallest is as good as it: the largest of such rates wins."""


def rated(recipe: Recipe, classes: list[str], model: TrainableModel, source: FeatureSource, train: Subset) -> Recipe:
    """The recipe, resolved but for the learning rate, with one that suits the head."""
    if recipe.optimizer.lr != "auto":
        return recipe
    places = np.random.default_rng(recipe.seed).permutation(len(train.images))[:SAMPLE]
    features = model.sample(source, train.images[places])
    labels = torch.from_numpy(train.labels[places]).to(features.device)
    assert recipe.loss != "auto"
    loss = recipe.loss.build(classes).to(features.device)
    return recipe.with_rate(find_rate(recipe, model.head, loss, features, labels))


def find_rate(
    recipe: Recipe, head: nn.Sequential, loss_of: nn.Module, features: torch.Tensor, labels: torch.Tensor
) -> float:
    """The learning rate for this head, which is left as it was.

    It is the best trial's times √(passes of a trial / epochs of the job): the longer the training, the smaller the rate
    that suits it, by the square root of the steps (Nemirovski et al., 2009).

    Args:
        recipe: resolved but for the rate.
        head: before its first step.
        loss_of: (logits, labels) → scalar.
        features: standardized, (n, D), in random order.
        labels: (n,) or (n, C).
    """
    held_out = max(1, len(features) // HELD_OUT)
    judge = _Examples(features[:held_out], labels[:held_out])
    learn = _Examples(features[held_out:], labels[held_out:])
    trials = _side_by_side if recipe.head.kind == "linear" else _one_by_one
    losses: list[float] = []
    for loss in trials(recipe, head, loss_of, learn, judge):
        losses.append(loss if math.isfinite(loss) else math.inf)
        if not losses[-1] < TOO_MUCH * min(losses):
            break
    best = max(rate for rate, loss in zip(RATES, losses, strict=False) if loss <= AS_GOOD * min(losses))
    assert isinstance(recipe.epochs, int)
    return float(f"{best * math.sqrt(PASSES / max(PASSES, recipe.epochs)):.2g}")


class _Examples(NamedTuple):
    features: torch.Tensor
    labels: torch.Tensor

    def batches(self, recipe: Recipe) -> Iterator[_Examples]:
        """Those of a trial."""
        size = max(recipe.images_per_step, 2)
        for _ in range(PASSES):
            for rows, known in zip(torch.split(self.features, size), torch.split(self.labels, size), strict=True):
                if len(rows) > 1:  # one has no variance to normalize by
                    yield _Examples(rows, known)


def _side_by_side(
    recipe: Recipe, head: nn.Sequential, loss_of: nn.Module, learn: _Examples, judge: _Examples
) -> Iterator[float]:
    """What each rate comes to, of a linear head."""
    dropout, linear = head
    assert isinstance(dropout, Dropout)
    assert isinstance(linear, nn.Linear)
    stack = StackedHeads(recipe, [Trial(lr=rate, l2=0.0, dropout=dropout.p) for rate in RATES], linear)
    torch.manual_seed(recipe.seed)
    for rows, known in learn.batches(recipe):
        stack.step(rows, known, loss_of)
    with torch.no_grad():
        losses = [
            loss_of(nn.functional.linear(judge.features, weight, bias), judge.labels).item()
            for weight, bias in stack.heads()
        ]
    yield from losses


def _one_by_one(
    recipe: Recipe, head: nn.Sequential, loss_of: nn.Module, learn: _Examples, judge: _Examples
) -> Iterator[float]:
    """What each rate comes to, of any head."""
    for rate in RATES:
        torch.manual_seed(recipe.seed)
        tried = copy.deepcopy(head).train()
        optimizer = recipe.optimizer.at(rate).build(tried.parameters())
        for rows, known in learn.batches(recipe):
            loss = loss_of(tried(rows), known)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            reached = loss_of(tried.eval()(judge.features), judge.labels).item()
        yield reached
