"""Linear discriminant analysis (LDA): a linear classifier in closed form, from one pass over the features.

Classes are Gaussians of one covariance Σ (Fisher, 1936), which is shrunk towards the identity (Friedman, 1989):
logits_c = t·(μ_cᵀ·Σ⁻¹·x - ½·μ_cᵀ·Σ⁻¹·μ_c) + log prior_c, with Σ = (1 - s)·S + s·(tr S/D)·I, and a temperature t.

Shrinkage s and temperature t have the least loss on all images whose labels are known: on those to validate on, and on
training images that are left out one at a time. Means of few images lie far from all images by chance alone, and the
more so the more features there are: what that adds to the distance, tr(Σ⁻¹·S)/n_c, is taken off (Moran & Murphy, 1979),
or rare classes would never be predicted. No classifier is taken to be surer than its images can show: a
label is right with probability (n + 1)/(n + 2), as if of two further images one were wrong (Platt, 1999).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from models.evaluation.metrics import count_correct
from models.features.sources import forward_plain_views
from models.messages import Noted
from models.training.class_priors import compute_priors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from models.training.inputs import TrainingRun

SHRINKAGES = (0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0)
TEMPERATURES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0)
LEFT_OUT = 512
"""Most training images that are left out one at a time."""
MOST_LOGITS = 2**24
"""Most logits of images that are left out: with many classes, fewer images are."""


class Labelled(NamedTuple):
    """Standardized features, (n, D), with their labels, (n,)."""

    features: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True)
class FittedLDA:
    """A fitted classifier, logits = W·x + b."""

    weight: torch.Tensor
    """Weights W, (C, D)."""
    bias: torch.Tensor
    """Biases b, (C,)."""
    shrinkage: float
    temperature: float
    path: list[PathPoint]
    """All shrinkages that were tried."""
    left_out: torch.Tensor
    """Logits (n, C) of the training images asked about, each by a classifier fitted to all others; without those that
    are alone in their class."""


@dataclass(frozen=True)
class PathPoint:
    """A shrinkage with its best temperature, and what was known of it."""

    shrinkage: float
    temperature: float
    loss: float
    """Loss on validation images and training images left out, their labels smoothed."""
    accuracy: float
    """Accuracy on the same images."""


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
    def freedom(self) -> float:
        """Degrees of freedom of the covariance within the classes."""
        return max(float(self.counts.sum()) - len(self.counts), 1.0)

    @property
    def covariance(self) -> torch.Tensor:
        """Covariance within the classes, (D, D); the identity where no class has two images to tell it from."""
        if self.counts.max() < 2:
            return torch.eye(len(self._squares))
        return (self._squares - self._sums.T @ self.means) / self.freedom


def fit_to_run(run: TrainingRun) -> tuple[FittedLDA, Noted]:
    """Fit LDA to the plain views of the training images of a run; returns it with a message about it."""
    model, classes = run.model, len(run.classes)
    statistics = Statistics.from_batches(_read_labelled(run), len(model.standardize.mean), classes)
    validation = _compute_labelled(run, run.validation.images, run.validation.labels)
    count = min(LEFT_OUT, max(1, MOST_LOGITS // classes))
    sample = np.sort(np.random.default_rng(run.recipe.seed).permutation(len(run.train.images))[:count])
    training = _compute_labelled(run, run.train.images[sample], run.train.labels[sample])
    class_weights = run.recipe.loss.build_weights(run.classes)
    fitted = fit_lda(statistics, compute_priors(run), training, validation, class_weights)
    logits = functional.linear(validation.features, fitted.weight, fitted.bias)
    accuracy = count_correct(logits, validation.labels) / len(logits)
    is_start = run.recipe.starts_from_lda
    return fitted, Noted(
        kind="lda_initialized" if is_start else "lda_fitted",
        message=f"LDA {'initialization' if is_start else 'to compare with'}: validation accuracy {accuracy:.1%}",
        data={
            "shrinkage": fitted.shrinkage,
            "temperature": fitted.temperature,
            "loss": functional.cross_entropy(logits, validation.labels, class_weights).item(),
            "accuracy": accuracy,
            "path": [asdict(point) for point in fitted.path],
        },
    )


def fit_lda(
    statistics: Statistics,
    priors: torch.Tensor,
    training: Labelled,
    validation: Labelled,
    class_weights: torch.Tensor | None = None,
) -> FittedLDA:
    """Fit a classifier with the shrinkage and temperature of the least loss on images that it was not fitted to.

    Shrinkage is to LDA what the strength of L2 is to logistic regression.

    Args:
        statistics: of the features to learn from.
        priors: (C,), of sum 1.
        training: some of the same features, each of which is left out in its turn.
        validation: features of other images.
        class_weights: weights of the classes in the loss, (C,).
    """
    covariance, log_priors = statistics.covariance, priors.clamp_min(1e-6).log()
    scale = covariance.diagonal().mean().clamp_min(1e-6)
    # A class of one image has no mean without it.
    counted = Labelled(*(rows[statistics.counts[training.labels] > 1] for rows in training))
    labels = torch.cat([counted.labels, validation.labels])
    path: list[PathPoint] = []
    best: FittedLDA | None = None
    for shrinkage in SHRINKAGES:
        shrunk = (1 - shrinkage) * covariance
        shrunk.diagonal().add_(shrinkage * scale)
        factor = torch.linalg.cholesky(shrunk)
        weight = torch.cholesky_solve(statistics.means.T, factor).T
        distances = _compute_left_out_distances(statistics, factor, 1 - shrinkage, counted)
        excess = _estimate_excess(statistics, distances, counted.labels)
        bias = excess.of_classes - (weight * statistics.means).sum(1) / 2
        scores = torch.cat([excess.of_left_out - distances / 2, functional.linear(validation.features, weight, bias)])
        losses = [_compute_loss(t * scores + log_priors, labels, class_weights) for t in TEMPERATURES]
        least = min(range(len(losses)), key=losses.__getitem__)
        t = TEMPERATURES[least]
        logits = t * scores + log_priors
        path.append(PathPoint(shrinkage, t, losses[least], count_correct(logits, labels) / len(labels)))
        if path[-1].loss <= min(point.loss for point in path):
            left_out = logits[: len(counted.labels)]
            best = FittedLDA(t * weight, t * bias + log_priors, shrinkage, t, path, left_out)
    assert best is not None
    return best


class _Excess(NamedTuple):
    """Half of what the error of a class's mean adds to squared distances from it."""

    of_classes: torch.Tensor
    """(C,)."""
    of_left_out: torch.Tensor
    """(n, C), for images that are left out of their own class."""


def _estimate_excess(statistics: Statistics, distances: torch.Tensor, labels: torch.Tensor) -> _Excess:
    """Estimate tr(Σ⁻¹·S)/2n_c from the squared distances of images that are left out to the means of their classes."""
    counts = statistics.counts.clamp_min(1)
    if not len(labels):
        return _Excess(torch.zeros_like(counts), distances)
    own, remaining = labels.unsqueeze(1), counts[labels] - 1
    # A distance is that of the image from the true mean, and that of the mean from it: tr·(1 + 1/n).
    trace = (distances.gather(1, own).squeeze(1) * remaining / (remaining + 1)).mean()
    of_classes = trace / (2 * counts)
    of_left_out = of_classes.expand_as(distances).scatter(1, own, (trace / (2 * remaining)).unsqueeze(1))
    return _Excess(of_classes, of_left_out)


def _compute_left_out_distances(
    statistics: Statistics, factor: torch.Tensor, share: float, training: Labelled
) -> torch.Tensor:
    """Compute squared distances (n, C) of images from the means of LDA that is fitted to all training images but them.

    Without x of class y, with d = x - μ_y and k = n_y/(n_y - 1), the mean of the class moves so that x is k·d away, and
    the scatter within the classes loses k·d·dᵀ: an update of rank one to Σ⁻¹ (Sherman & Morrison, 1950). The target of
    the shrinkage and the degrees of freedom stay as they are.

    Args:
        statistics: of all training images.
        factor: L of the shrunk covariance Σ = L·Lᵀ.
        share: the covariance's share in Σ, 1 - s.
        training: the images to ask about.
    """
    means: torch.Tensor = torch.linalg.solve_triangular(factor, statistics.means.T, upper=False).T
    rows: torch.Tensor = torch.linalg.solve_triangular(factor, training.features.T, upper=False).T
    counts, own = statistics.counts[training.labels], training.labels.unsqueeze(1)
    moves = counts / (counts - 1)  # k
    lost = share * moves / statistics.freedom
    gaps = rows - means[training.labels]  # L⁻¹·d
    leverage = gaps.square().sum(1)  # dᵀ·Σ⁻¹·d
    left = (1 - lost * leverage).clamp_min(1e-3)
    distances = rows.square().sum(1, keepdim=True) - 2 * rows @ means.T + means.square().sum(1)
    products = (gaps * rows).sum(1, keepdim=True) - gaps @ means.T  # dᵀ·Σ⁻¹·(x - μ_j)
    distances += (lost / left).unsqueeze(1) * products.square()
    distances.scatter_(1, own, (moves.square() * leverage / left).unsqueeze(1))
    return distances


def _compute_loss(logits: torch.Tensor, labels: torch.Tensor, class_weights: torch.Tensor | None) -> float:
    """Compute cross entropy where labels are right with probability (n + 1)/(n + 2)."""
    images, classes = logits.shape
    smoothing = classes / ((classes - 1) * (images + 2))
    loss: float = functional.cross_entropy(logits, labels, class_weights, label_smoothing=min(smoothing, 1.0)).item()
    return loss


def _compute_labelled(run: TrainingRun, images: np.ndarray, labels: np.ndarray) -> Labelled:
    return Labelled(run.model.compute_features(run.source, images).cpu(), torch.from_numpy(labels))


def _read_labelled(run: TrainingRun) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    model, labels = run.model, torch.from_numpy(run.train.labels)
    done = 0
    for rows in forward_plain_views(model.top, run.source, run.train.images):
        yield model.standardize(rows.to(model.device)).cpu(), labels[done : done + len(rows)]
        done += len(rows)
