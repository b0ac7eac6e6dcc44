"""Calibration: whether predicted probabilities are right as often as they say, and the temperature that makes them so.

Temperature scaling (Guo et al., 2017) divides all logits by one number, which changes no prediction.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from models.evaluation.metrics import compute_binary_cross_entropy, compute_losses, compute_probabilities

if TYPE_CHECKING:
    from collections.abc import Callable

BINS = 15
EXPECTED = 0.1
"""Mean size of log temperature before any image is seen: networks that stopped early are about right, a few far off."""
MOST = math.log(100)
"""Largest log temperature, and the smallest but for its sign."""
MOST_LOGITS = 2**22
"""Most logits that a temperature is fitted to; of more, every second, third, … image is left out."""
TOLERANCE = 1e-4
"""How exactly log temperature is found."""
SHRINK = (math.sqrt(5) - 1) / 2
"""Golden section: what each step leaves of the range."""


def compute_calibration_error(logits: np.ndarray, labels: np.ndarray) -> float:
    """Compute the expected calibration error (ECE): Σ_b n_b/n·|right_b/n_b - mean p_b| over 15 equal bins b of p.

    p is the probability of the predicted class, from logits (n, C) and labels (n,), and right_b counts the predictions
    that are right (Naeini et al., 2015). With multi-hot labels (n, C), p is the probability of each class of each
    image, and right_b counts the classes that images have.
    """
    if labels.ndim == 2:
        probabilities, is_right = compute_probabilities(logits, is_multi_label=True).ravel(), labels.ravel() > 0
    else:
        probabilities = compute_probabilities(logits, is_multi_label=False).max(1)
        is_right = logits.argmax(1) == labels
    bins = np.clip(np.ceil(probabilities * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, probabilities - is_right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(probabilities))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Fit the temperature by which logits (n, C) of images that were not trained on are to be divided.

    It maximizes its posterior probability, where log temperature has a Laplace prior: with few images it stays near 1.
    But no network is taken to err less than once in n + 2 images, which is what no error in n images lets one expect by
    Laplace's rule of succession: so where no prediction is wrong, probabilities are bounded.
    """
    step = -(-logits.size // MOST_LOGITS)
    logits, labels = logits[::step], labels[::step]
    compute_loss = _compute_single_loss if labels.ndim == 1 else _compute_multi_loss
    compute_errors = _expect_errors if labels.ndim == 1 else _expect_wrong_labels

    def compute_cost(log_temperature: float) -> float:
        return compute_loss(logits / math.exp(log_temperature), labels) + abs(log_temperature) / EXPECTED

    def errs_enough(log_temperature: float) -> bool:
        return compute_errors(logits / math.exp(log_temperature)) >= len(logits) / (len(logits) + 2)

    return float(f"{math.exp(max(_minimize(compute_cost), _find_first(errs_enough))):.4g}")


def _compute_single_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Compute the negative log-likelihood of all images."""
    return float(compute_losses(logits, labels).sum())


def _compute_multi_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    return compute_binary_cross_entropy(logits, targets) * logits.size


def _expect_errors(logits: np.ndarray) -> float:
    """Compute how many predictions are wrong if all probabilities are right."""
    probabilities = compute_probabilities(logits, is_multi_label=False)
    return float((1 - probabilities.max(1)).sum())


def _expect_wrong_labels(logits: np.ndarray) -> float:
    return float(np.exp(-np.logaddexp(0, np.abs(logits.astype(float)))).sum())


def _find_first(is_enough: Callable[[float], bool]) -> float:
    """Find the least log temperature that is enough, as all above it are, by bisection."""
    low, high = -MOST, MOST
    while high - low > TOLERANCE:
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _minimize(compute_cost: Callable[[float], float]) -> float:
    """Find the minimum of a function with one valley by golden section search (Kiefer, 1953)."""
    low, high = -MOST, MOST
    inner = [high - SHRINK * (high - low), low + SHRINK * (high - low)]
    costs = [compute_cost(point) for point in inner]
    while high - low > TOLERANCE:
        if costs[0] <= costs[1]:
            high = inner[1]
            inner = [high - SHRINK * (high - low), inner[0]]
            costs = [compute_cost(inner[0]), costs[0]]
        else:
            low = inner[0]
            inner = [inner[1], low + SHRINK * (high - low)]
            costs = [costs[1], compute_cost(inner[1])]
    return (low + high) / 2
