"""Learning rate range test: short trials at ever larger rates show which one learns fastest (after Smith, 2017).

Smith's raises the rate from step to step. Here each rate starts anew, and is compared on images that its trial did not
train on: a head with few weights fits its training images at rates that are much too large for others.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from models.catalog.head_search import Trial
from models.training.stacked_heads import StackedHeads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.catalog.recipe import ResolvedRecipe
    from models.nn.head import HeadModule
    from models.training.inputs import TrainingRun

SAMPLE = 1024
"""Most images that the test uses."""
PASSES = 2
"""Epochs of a trial."""
HELD_OUT = 4
"""One image in HELD_OUT is held out, to compare trials on."""
RATES = [10 ** (exponent / 2) for exponent in range(-12, 4)]
"""Learning rates to try: from 1e-6 to 30, two in a decade."""
TOO_MUCH = 4.0
"""Factor of the smallest loss beyond which the test ends."""
AS_GOOD = 1.01
"""Factor of the smallest loss up to which a loss is as good; the largest of such rates wins."""


def resolve_rate(run: TrainingRun) -> TrainingRun:
    """Replace `lr: auto` by the rate that a range test finds; the model is left as it was."""
    recipe = run.recipe
    if recipe.optimizer.lr != "auto":
        return run
    sample = np.random.default_rng(recipe.seed).permutation(len(run.train.images))[:SAMPLE]
    features = run.model.compute_features(run.source, run.train.images[sample])
    labels = torch.from_numpy(run.train.labels[sample]).to(features.device)
    rate = find_rate(recipe, run.model.head, run.build_loss(), features, labels)
    return replace(run, recipe=recipe.with_rate(rate))


def find_rate(
    recipe: ResolvedRecipe, head: HeadModule, loss_of: nn.Module, features: torch.Tensor, labels: torch.Tensor
) -> float:
    """Find the learning rate for a head, which is left as it was.

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
    validation = _Rows(features[:held_out], labels[:held_out])
    train = _Rows(features[held_out:], labels[held_out:])
    run_trials = _train_stacked if recipe.head.kind == "linear" else _train_one_by_one
    losses: list[float] = []
    for loss in run_trials(recipe, head, loss_of, train, validation):
        losses.append(loss if math.isfinite(loss) else math.inf)
        if not losses[-1] < TOO_MUCH * min(losses):
            break
    best = max(rate for rate, loss in zip(RATES, losses, strict=False) if loss <= AS_GOOD * min(losses))
    return float(f"{best * math.sqrt(PASSES / max(PASSES, recipe.epochs)):.2g}")


class _Rows(NamedTuple):
    features: torch.Tensor
    labels: torch.Tensor

    def batches(self, recipe: ResolvedRecipe) -> Iterator[_Rows]:
        """Iterate over the batches of a trial."""
        size = max(recipe.batch_size, 2)
        for _ in range(PASSES):
            for rows, known in zip(torch.split(self.features, size), torch.split(self.labels, size), strict=True):
                if len(rows) > 1:  # one has no variance to normalize by
                    yield _Rows(rows, known)


def _train_stacked(
    recipe: ResolvedRecipe, head: HeadModule, loss_of: nn.Module, train: _Rows, validation: _Rows
) -> Iterator[float]:
    """Train stacked linear heads, one per learning rate; return the loss of each."""
    trials = [Trial(lr=rate, l2=0.0, dropout=head.dropout.p) for rate in RATES]
    stack = StackedHeads(recipe, trials, head.output)
    torch.manual_seed(recipe.seed)
    for rows, known in train.batches(recipe):
        stack.step(rows, known, loss_of)
    with torch.no_grad():
        losses = [
            loss_of(nn.functional.linear(validation.features, weight, bias), validation.labels).item()
            for weight, bias in stack.heads
        ]
    yield from losses


def _train_one_by_one(
    recipe: ResolvedRecipe, head: HeadModule, loss_of: nn.Module, train: _Rows, validation: _Rows
) -> Iterator[float]:
    """Train a copy of the head at each learning rate; return the loss of each."""
    for rate in RATES:
        torch.manual_seed(recipe.seed)
        tried = copy.deepcopy(head).train()
        optimizer = recipe.optimizer.with_lr(rate).build(tried.parameters())
        for rows, known in train.batches(recipe):
            loss = loss_of(tried(rows), known)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        with torch.inference_mode():
            reached = loss_of(tried.eval()(validation.features), validation.labels).item()
        yield reached
