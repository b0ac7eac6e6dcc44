"""The shrunk linear discriminant: a classifier in closed form, from one look at each image.

Classes are Gaussians of one covariance Σ (Fisher, 1936), which is shrunk towards the identity (Friedman, 1989):
logits_c = t·(μ_cᵀ·Σ⁻¹·x - ½·μ_cᵀ·Σ⁻¹·μ_c + log prior_c), with Σ = (1 - s)·S + s·(tr S/D)·I, and a temperature t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from models.evaluation.metrics import right
from models.features.sources import forward_plain_views
from models.messages import Noted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from models.catalog.recipe import Recipe
    from models.features.sources import FeatureSource
    from models.training.model import TrainableModel
    from models.training.subset import Subset

SHRINKAGES = (0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
TEMPERATURES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0)


@dataclass(frozen=True)
class FittedLDA:
    """logits = W·x + b."""

    weight: torch.Tensor
    """(C, D)"""
    bias: torch.Tensor
    """(C,)"""
    shrinkage: float
    temperature: float
    loss: float
    """On what it is judged by."""
    accuracy: float

    def figures(self) -> dict[str, float]:
        """All but the weights."""
        return {name: getattr(self, name) for name in ("shrinkage", "temperature", "loss", "accuracy")}


class Statistics:
    """What the discriminant needs to know of features: their count, mean and scatter by class; memory is flat in n."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        self.counts = torch.zeros(num_classes)
        self._sums = torch.zeros(num_classes, num_features)
        self._squares = torch.zeros(num_features, num_features)

    @classmethod
    def of(
        cls, batches: Iterable[tuple[torch.Tensor, torch.Tensor]], num_features: int, num_classes: int
    ) -> Statistics:
        """Of features (n, D), batch by batch, with their labels (n,)."""
        statistics = cls(num_features, num_classes)
        for rows, labels in batches:
            statistics.counts += torch.bincount(labels, minlength=num_classes)
            statistics._sums.index_add_(0, labels, rows)
            statistics._squares.addmm_(rows.T, rows)
        return statistics

    @property
    def means(self) -> torch.Tensor:
        """(C, D)"""
        return self._sums / self.counts.clamp_min(1).unsqueeze(1)

    @property
    def covariance(self) -> torch.Tensor:
        """Within the classes, (D, D)."""
        between = self._sums.T @ self.means
        freedom = max(float(self.counts.sum()) - len(self.counts), 1.0)
        return (self._squares - between) / freedom


def start(
    model: TrainableModel,
    recipe: Recipe,
    classes: Sequence[str],
    source: FeatureSource,
    train: Subset,
    validation: Subset,
) -> Noted:
    """Have a linear head start as the discriminant of the plain views of what is trained on; says how well it does.

    The recipe is resolved. Shrinkage and temperature are those with the least loss on what is validated on.
    """
    features = len(model.standardize.mean)
    statistics = Statistics.of(_labelled(model, source, train), features, len(classes))
    assert recipe.loss != "auto"
    loss = recipe.loss.build(list(classes)).to(model.device)
    priors = torch.ones(len(classes)) if recipe.sampling.kind == "balanced" else statistics.counts
    weights = recipe.loss.build_weights(list(classes))
    shown, labels = model.sample(source, validation.images), torch.from_numpy(validation.labels)
    path = fit_lda(statistics, priors if weights is None else priors * weights, loss, shown.cpu(), labels)
    found = min(path, key=lambda one: one.loss)
    model.head[-1].load_state_dict({"weight": found.weight, "bias": found.bias})
    return Noted(
        kind="lda_initialized",
        message=f"In closed form, a head has a validation accuracy of {found.accuracy:.1%}; training starts from there",
        data={**found.figures(), "path": [one.figures() for one in path]},
    )


def fit_lda(
    statistics: Statistics,
    priors: torch.Tensor,
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    features: torch.Tensor,
    labels: torch.Tensor,
) -> list[FittedLDA]:
    """One for each shrinkage, with the temperature of the least loss on other features (n, D) with labels (n,).

    Shrinkage is to a discriminant what the strength of L2 is to logistic regression.

    Args:
        statistics: of the features to learn from.
        priors: (C,), of any sum.
        loss: (logits, labels) → scalar.
        features: to judge by.
        labels: of these.
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
        temperature, accuracy = TEMPERATURES[least], right(logits, labels) / len(labels)
        path.append(
            FittedLDA(weight * temperature, bias * temperature, shrinkage, temperature, losses[least], accuracy)
        )
    return path


def _labelled(
    model: TrainableModel, source: FeatureSource, examples: Subset
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    labels = torch.from_numpy(examples.labels)
    done = 0
    for rows in forward_plain_views(model.top, source, examples.images):
        yield model.standardize(rows.to(model.device)).cpu(), labels[done : done + len(rows)]
        done += len(rows)
