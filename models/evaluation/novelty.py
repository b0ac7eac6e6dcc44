"""Novelty detection: whether an image is like nothing that a classifier was trained on, from statistics of its classes.

Features are divided by their length (Mahalanobis++: Müller & Hein, 2025) and projected by random signs to few numbers,
which keeps distances (Johnson & Lindenstrauss, 1984; Achlioptas, 2003). Classes are Gaussians of one covariance there
(Lee et al., 2018), which is taken to be σ²·I but in the few directions v of the greatest variances λ: the squared
distance of an image from a class is |d|² - Σ_v (1 - σ²/λ_v)·(v·d)², with d = x - μ, in units of σ². An image's novelty
is its least distance divided by the threshold, which nearly all held-out images stay below: above 1 it is like nothing.

The projection depends on nothing but the number of features, so one multiplication serves all models on a trunk.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Multiply = Callable[[np.ndarray], np.ndarray]
    """Product of rows (n, d) with a matrix."""

LEAST_SIZE, MOST_SIZE, SHARE = 64, 128, 4
"""Numbers that features are projected to: a quarter of them, within these bounds."""
DIRECTIONS = 8
"""Most directions with a variance of their own."""
FALSE_ALARMS = 0.01
"""Share of images of the same kind that are taken for novel, where as many were held out."""
SEED = b"graft novelty 1"
LEVELS = 127
"""Statistics are kept as whole numbers from -127 to 127."""


@dataclass(frozen=True)
class ClassStatistics:
    """Statistics of the classes that a model was trained on; 8 bits a number."""

    means: np.ndarray
    """Means of the classes, (K, d) int8, in units of `mean_unit`."""
    mean_unit: float
    directions: np.ndarray
    """Directions of great variance, (r, d) int8, in units of `direction_unit`, as long as (1 - σ²/λ)^½."""
    direction_unit: float
    threshold: float
    """Least distance of novel images."""


def project(features: np.ndarray) -> np.ndarray:
    """Divide features (n, D) by their lengths and project them to (n, d) numbers."""
    rows = features.astype(np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    projected: np.ndarray = rows @ _make_signs(rows.shape[1])
    return projected


def fit(training: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> ClassStatistics:
    """Fit statistics to projected features (n, d) of training images, and the threshold to those of held-out ones.

    Args:
        training: (n, d).
        labels: (n,), or multi-hot (n, C), where images without labels are a class of their own.
        held_out: (m, d), of images that were not trained on.
    """
    rows, classes = _list_by_class(training.astype(float), labels)
    names, classes = np.unique(classes, return_inverse=True)
    sums = np.zeros((len(names), rows.shape[1]))
    np.add.at(sums, classes, rows)
    means = sums / np.bincount(classes)[:, None]
    mean_levels, mean_unit = _quantize(means)
    direction_levels, direction_unit = _quantize(_find_directions(rows - means[classes], len(names)))
    fitted = ClassStatistics(mean_levels, mean_unit, direction_levels, direction_unit, 1.0)
    distances = np.sort(StackedStatistics([fitted]).measure(held_out)[:, 0])
    rank = min(math.ceil((len(distances) + 1) * (1 - FALSE_ALARMS)), len(distances))
    threshold = max(float(distances[rank - 1]), float(np.finfo(np.float32).tiny))
    return ClassStatistics(mean_levels, mean_unit, direction_levels, direction_unit, threshold)


def multiply_by(matrix: np.ndarray) -> Multiply:
    """Make the product of rows (n, d) with a matrix (rows, d): (n, rows)."""
    return lambda rows: rows @ matrix.T


class StackedStatistics:
    """Statistics of many models on one trunk, whose novelties are measured together.

    With V the directions of a model and V'V applied to its means beforehand, the distance of x to μ is
    |x|² - 2·(μ - V'Vμ)·x + |μ|² - |Vμ|² - |Vx|²: one product of x with all rows (μ - V'Vμ) and V is all that there is.
    """

    def __init__(
        self, models: Sequence[ClassStatistics], multiply_by: Callable[[np.ndarray], Multiply] = multiply_by
    ) -> None:
        """Stack statistics; `multiply_by` makes the product with a matrix."""
        means = [model.means.astype(np.float32) * model.mean_unit for model in models]
        directions = [_pad(model.directions.astype(np.float32) * model.direction_unit) for model in models]
        along = [rows @ axes.T for rows, axes in zip(means, directions, strict=True)]
        rests = [rows - lengths @ axes for rows, lengths, axes in zip(means, along, directions, strict=True)]
        squares = [np.square(rows).sum(1) - np.square(each).sum(1) for rows, each in zip(means, along, strict=True)]
        by_direction = np.stack(directions, 1).reshape(-1, means[0].shape[1])
        self._multiply = multiply_by(np.concatenate([*rests, by_direction], dtype=np.float32))
        self._squares = np.concatenate(squares)
        counts = [len(rows) for rows in means]
        self._starts = np.cumsum([0, *counts[:-1]])
        """Where the means of each model begin."""
        self._thresholds = np.array([model.threshold for model in models], np.float32)

    def measure(self, projected: np.ndarray) -> np.ndarray:
        """Measure the novelty of images for each model, (n, models), from projected features (n, d)."""
        x = projected.astype(np.float32)
        products, means = self._multiply(x), len(self._squares)
        along = np.square(products[:, means:]).reshape(len(x), DIRECTIONS, len(self._thresholds)).sum(1)
        distances = np.minimum.reduceat(self._squares - 2 * products[:, :means], self._starts, axis=1)
        distances += np.square(x).sum(1, keepdims=True) - along
        novelties: np.ndarray = np.maximum(distances, 0) / self._thresholds
        return novelties


def _pad(directions: np.ndarray) -> np.ndarray:
    """Fill up directions (r, d) with zeros to all that there may be."""
    return np.pad(directions, ((0, DIRECTIONS - len(directions)), (0, 0)))


@lru_cache(maxsize=8)
def _make_signs(num_features: int) -> np.ndarray:
    """Make the projection, (D, d): signs from a hash, which are the same for ever; few features stay as they are."""
    if num_features <= LEAST_SIZE:
        return np.eye(num_features, dtype=np.float32)
    size = min(MOST_SIZE, max(LEAST_SIZE, num_features // SHARE))
    bits = np.frombuffer(hashlib.shake_256(SEED).digest(-(-num_features * size // 8)), np.uint8)
    signs = np.unpackbits(bits)[: num_features * size].reshape(num_features, size)
    return (2 * signs.astype(np.float32) - 1) / math.sqrt(size)


def _list_by_class(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """List rows with their classes: those of several labels several times, those of none under the number C."""
    if labels.ndim == 1:
        return rows, labels
    has_none = ~(labels > 0).any(1)
    images, classes = np.nonzero(np.column_stack([labels > 0, has_none]))
    return rows[images], classes


def _find_directions(residuals: np.ndarray, num_classes: int) -> np.ndarray:
    """Find the directions (r, d) of the greatest variances within classes, each as long as (1 - σ²/λ)^½."""
    freedom, size = len(residuals) - num_classes, residuals.shape[1]
    count = min(DIRECTIONS, freedom, size - 1)
    if count < 1:
        return np.zeros((0, size))
    variances, vectors = np.linalg.eigh(residuals.T @ residuals / freedom)
    rest = variances[:-count].mean()
    greatest = np.maximum(variances[-count:], rest)
    shares = np.divide(greatest - rest, greatest, out=np.zeros(count), where=greatest > 0)
    directions: np.ndarray = np.sqrt(shares)[:, None] * vectors[:, -count:].T
    return directions


def _quantize(numbers: np.ndarray) -> tuple[np.ndarray, float]:
    """Round numbers to whole ones from -127 to 127 and their unit."""
    unit = float(np.abs(numbers).max(initial=0.0)) / LEVELS or 1.0
    return np.round(numbers / unit).astype(np.int8), unit
