"""The learning rate range test: short trials at ever larger rates show which one learns fastest (after Smith, 2017).

Smith's raises the rate from step to step. Here each rate starts anew, and is judged by pictures that it did not see: a
head with few weights fits what it has seen at rates that are much too large for the others.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from models.catalog.recipe import Recipe
    from models.examples import Examples
    from models.features import Source
    from models.grafted import Grafted

SAMPLE = 1024
"""Pictures that it looks at."""
PASSES = 2
"""How often each trial goes through what it learns from."""
HELD_OUT = 4
"""One in so many pictures is what it is judged by."""
RATES = [10 ** (exponent / 2) for exponent in range(-12, 4)]
"""From 1e-6 to 30, two in a decade."""
TOO_MUCH = 4.0
"""A loss so many times the smallest ends the test."""
AS_GOOD = 1.01
"""A loss up to so many times the smallest is as good as it: the largest of such rates wins."""


def rated(recipe: Recipe, classes: list[str], grafted: Grafted, source: Source, train: Examples) -> Recipe:
    """The recipe, resolved but for the learning rate, with one that suits the head."""
    if recipe.optimizer.lr != "auto":
        return recipe
    places = np.random.default_rng(recipe.seed).permutation(len(train.pictures))[:SAMPLE]
    features = grafted.sample(source, train.pictures[places])
    labels = torch.from_numpy(train.labels[places]).to(features.device)
    assert recipe.loss != "auto"
    loss = recipe.loss.build(classes).to(features.device)
    return recipe.with_rate(find_rate(recipe, grafted.head, loss, features, labels))


def find_rate(
    recipe: Recipe, head: torch.nn.Module, loss_of: torch.nn.Module, features: torch.Tensor, labels: torch.Tensor
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
    losses = []
    for rate in RATES:
        torch.manual_seed(recipe.seed)
        tried = _tried(recipe.with_rate(rate), copy.deepcopy(head), loss_of, features[held_out:], labels[held_out:])
        with torch.inference_mode():
            loss = loss_of(tried.eval()(features[:held_out]), labels[:held_out]).item()
        losses.append(loss if math.isfinite(loss) else math.inf)
        if not losses[-1] < TOO_MUCH * min(losses):
            break
    best = max(rate for rate, loss in zip(RATES, losses, strict=False) if loss <= AS_GOOD * min(losses))
    assert isinstance(recipe.epochs, int)
    return float(f"{best * math.sqrt(PASSES / max(PASSES, recipe.epochs)):.2g}")


def _tried(
    recipe: Recipe, head: torch.nn.Module, loss_of: torch.nn.Module, features: torch.Tensor, labels: torch.Tensor
) -> torch.nn.Module:
    """The head after a short training."""
    size = max(recipe.pictures_per_step, 2)
    optimizer = recipe.optimizer.build(head.train().parameters())
    for _ in range(PASSES):
        for rows, known in zip(torch.split(features, size), torch.split(labels, size), strict=True):
            if len(rows) > 1:  # one has no variance to normalize by
                loss = loss_of(head(rows), known)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
    return head
