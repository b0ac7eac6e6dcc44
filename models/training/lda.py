"""Linear discriminant analysis (LDA): a linear classifier in closed form, from one pass over the features.

Classes are Gaussians of one covariance Σ (Fisher, 1936), which is shrunk towards the identity (Friedman, 1989):
logits_c = t·(μ_cᵀ·Σ⁻¹·x - ½·μ_cᵀ·Σ⁻¹·μ_c + log prior_c), with Σ = (1 - s)·S + s·(tr S/D)·I, and a temperature t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from models.evaluation.metrics import count_correct
from models.features.sources import forward_plain_views
from models.messages import Noted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from models.training.inputs import TrainingRun

SHRINKAGES = (0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
TEMPERATURES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0)


@dataclass(frozen=True)
class FittedLDA:
    """A fitted classifier, logits = W·x + b."""

    weight: torch.Tensor
    """Weights W, (C, D)."""
    bias: torch.Tensor
    """Biases b, (C,)."""
    shrinkage: float
    temperature: float
    loss: float
    """Loss on the validation images."""
    accuracy: float

    def list_figures(self) -> dict[str, float]:
        """List everything but the weights."""
        return {name: getattr(self, name) for name in ("shrinkage", "temperature", "loss", "accuracy")}


class Statistics:
    """Counts, means and the common covariance of features by class; memory does not grow with the images."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        self.counts = torch.zeros(num_classes)
        self._sums = torch.zeros(num_classes, num_features)
        self._squares = torch.zeros(num_features, num_features)

    @classmethod
    def from_batches(
        cls, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], num_features: int, num_classes: int
    ) -> Statistics:
        """Sum up features (n, D), batch by batch, with their labels (n,)."""
        statistics = cls(num_features, num_classes)
        for rows, labels in batches:
            statistics.counts += torch.bincount(labels, minlength=num_classes)
            statistics._sums.index_add_(0, labels, rows)
            statistics._squares.addmm_(rows.T, rows)
        return statistics

    @property
    def means(self) -> torch.Tensor:
        """Mean of each class, (C, D)."""
        return self._sums / self.counts.clamp_min(1).unsqueeze(1)

    @property
    def covariance(self) -> torch.Tensor:
        """Covariance within the classes, (D, D)."""
        between = self._sums.T @ self.means
        freedom = max(float(self.counts.sum()) - len(self.counts), 1.0)
        return (self._squares - between) / freedom


def initialize_head(run: TrainingRun) -> Noted:
    """Initialize a linear head by LDA of the plain views of the training images.

    Shrinkage and temperature are those with the least loss on the validation images.
    """
    model, recipe, classes = run.model, run.recipe, run.classes
    statistics = Statistics.from_batches(_labelled_features(run), len(model.standardize.mean), len(classes))
    priors = torch.ones(len(classes)) if recipe.sampling.kind == "balanced" else statistics.counts
    weights = recipe.loss.build_weights(classes)
    features = model.compute_features(run.source, run.validation.images).cpu()
    labels = torch.from_numpy(run.validation.labels)
    path = fit_lda(statistics, priors if weights is None else priors * weights, run.build_loss(), features, labels)
    best = min(path, key=lambda fitted: fitted.loss)
    model.head.output.load_state_dict({"weight": best.weight, "bias": best.bias})
    return Noted(
        kind="lda_initialized",
        message=f"LDA initialization: validation accuracy {best.accuracy:.1%}",
        data={**best.list_figures(), "path": [fitted.list_figures() for fitted in path]},
    )


def fit_lda(
    statistics: Statistics,
    priors: torch.Tensor,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    features: torch.Tensor,
    labels: torch.Tensor,
) -> list[FittedLDA]:
    """Fit a classifier for each shrinkage, with the temperature of the least loss on other images.

    Shrinkage is to LDA what the strength of L2 is to logistic regression.

    Args:
        statistics: of the features to learn from.
        priors: (C,), of any sum.
        loss: (logits, labels) → scalar.
        features: of the other images, (n, D).
        labels: of the other images, (n,).
    """
    means, covariance = statistics.means, statistics.covariance
    scale = covariance.diagonal().mean().clamp_min(1e-6)
    path = []
    for shrinkage in SHRINKAGES:
        shrunk = (1 - shrinkage) * covariance
        shrunk.diagonal().add_(shrinkage * scale)
        weight = torch.cholesky_solve(means.T, torch.linalg.cholesky(shrunk)).T
        bias = (priors / priors.sum()).clamp_min(1e-6).log() - (weight * means).sum(1) / 2
        logits = features @ weight.T + bias
        losses = [loss(logits * temperature, labels).item() for temperature in TEMPERATURES]
        least = min(range(len(losses)), key=losses.__getitem__)
        temperature, accuracy = TEMPERATURES[least], count_correct(logits, labels) / len(labels)
        path.append(
            FittedLDA(weight * temperature, bias * temperature, shrinkage, temperature, losses[least], accuracy)
        )
    return path


def _labelled_features(run: TrainingRun) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    model, labels = run.model, torch.from_numpy(run.train.labels)
    done = 0
    for rows in forward_plain_views(model.top, run.source, run.train.images):
        yield model.standardize(rows.to(model.device)).cpu(), labels[done : done + len(rows)]
        done += len(rows)
