"""Learning rate range test: short trials at ever larger rates show which one learns fastest (after Smith, 2017).

Smith's raises the rate from step to step. Here each rate starts anew, and is compared on images that its trial did not
train on: a head with few weights fits its training images at rates that are much too large for others.

Where no trial does better on those images than the untrained head, or the best rate is the smallest or largest of all,
they say nothing, as where nearly all images are of one class. Then the rate is a tenth of the one that fits the
training images best, as in Smith's own test.
"""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from models.catalog.head_search import Trial
from models.training.stacked_heads import StackedHeads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
BELOW_FIT = 0.1
"""Factor of the rate that fits the training images best, where images held out say nothing."""
MOST_WEIGHTS = 2**25
"""Most weights of trials side by side; more are done one after another. Their gradients, two means of those and copies
take some seven times as much: 1 GB in all."""


class _Losses(NamedTuple):
    """Losses that a trial reaches."""

    held_out: float
    fitted: float
    """On the images that it trained on."""


def resolve_rate(run: TrainingRun) -> TrainingRun:
    """Replace `lr: auto` by the rate that a range test finds; the model is left as it was."""
    recipe = run.recipe
    if recipe.optimizer.lr != "auto":
        return run
    random = np.random.default_rng(recipe.seed)
    sample = random.permutation(len(run.train.images))[:SAMPLE]
    if run.train.labels.ndim == 1:
        sample = sample[_stratify(run.train.labels[sample], random)]
    features = run.model.compute_features(run.source, run.train.images[sample])
    labels = torch.from_numpy(run.train.labels[sample]).to(features.device)
    rate = find_rate(recipe, run.model.head, run.build_loss(), features, labels)
    return replace(run, recipe=recipe.with_rate(rate))


def find_rate(
    recipe: ResolvedRecipe, head: HeadModule, loss_of: nn.Module, features: torch.Tensor, labels: torch.Tensor
) -> float:
    """Find the learning rate for a head, which is left as it was.

    It is the best trial's times √(passes of a trial / epochs of the job): the longer the training, the smaller the rate
    that suits it, by the square root of the steps (Nemirovski et al., 2009). A head with hidden layers that stops early
    keeps the best trial's: it has learned, and begins to overfit, long before the most epochs that it may have.

    Args:
        recipe: resolved but for the rate.
        head: before its first step.
        loss_of: (logits, labels) → scalar.
        features: standardized, (n, D), in random order.
        labels: (n,) or (n, C).
    """
    count = count_held_out(len(features))
    validation = _Rows(features[:count], labels[:count])
    train = _Rows(features[count:], labels[count:])
    run_trials = _train_stacked if recipe.head.kind == "linear" else _train_one_by_one
    trials: list[_Losses] = []
    for losses in run_trials(recipe, head, loss_of, train, validation):
        trials.append(_Losses(*(loss if math.isfinite(loss) else math.inf for loss in losses)))
        if not trials[-1].held_out < TOO_MUCH * min(trial.held_out for trial in trials):
            break
    untrained = _compute_loss(copy.deepcopy(head).eval(), loss_of, validation)
    best = _choose_rate([trial.held_out for trial in trials])
    if min(trial.held_out for trial in trials) * AS_GOOD > untrained or best in (RATES[0], RATES[-1]):
        best = max(RATES[0], BELOW_FIT * _choose_rate([trial.fitted for trial in trials]))
    epochs = PASSES if recipe.head.kind == "mlp" and recipe.early_stopping is not None else recipe.epochs
    return float(f"{best * math.sqrt(PASSES / max(PASSES, epochs)):.2g}")


def count_held_out(images: int) -> int:
    """Count the images, the first of all, that trials are compared on."""
    return max(1, images // HELD_OUT)


def _stratify(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Order images (n,) in random order so that those held out, the first, have as many of each class as the others."""
    places = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        places[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    order = np.argsort(places, kind="stable")
    count = count_held_out(len(labels))
    return np.concatenate([order[:count], random.permutation(order[count:])])


def _choose_rate(losses: list[float]) -> float:
    """Choose the largest rate whose loss is as good as the smallest."""
    return max(rate for rate, loss in zip(RATES, losses, strict=False) if loss <= AS_GOOD * min(losses))


def _compute_loss(head: Callable[[torch.Tensor], torch.Tensor], loss_of: nn.Module, rows: _Rows) -> float:
    with torch.no_grad():
        return float(loss_of(head(rows.features), rows.labels).item())


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
) -> Iterator[_Losses]:
    """Train stacked linear heads, one per learning rate, as many at once as the memory allows."""
    at_once = max(1, MOST_WEIGHTS // head.output.weight.numel())
    for first in range(0, len(RATES), at_once):
        trials = [Trial(lr=rate, l2=0.0, dropout=head.dropout.p) for rate in RATES[first : first + at_once]]
        stack = StackedHeads(recipe, trials, head.output)
        torch.manual_seed(recipe.seed)
        for rows, known in train.batches(recipe):
            stack.step(rows, known, loss_of)
        for weight, bias in stack.heads:
            linear = partial(nn.functional.linear, weight=weight, bias=bias)
            yield _Losses(*(_compute_loss(linear, loss_of, rows) for rows in (validation, train)))


def _train_one_by_one(
    recipe: ResolvedRecipe, head: HeadModule, loss_of: nn.Module, train: _Rows, validation: _Rows
) -> Iterator[_Losses]:
    """Train a copy of the head at each learning rate."""
    for rate in RATES:
        torch.manual_seed(recipe.seed)
        tried = copy.deepcopy(head).train()
        optimizer = recipe.optimizer.with_lr(rate).build(tried.parameters())
        for rows, known in train.batches(recipe):
            loss = loss_of(tried(rows), known)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        tried.eval()
        yield _Losses(*(_compute_loss(tried, loss_of, rows) for rows in (validation, train)))
