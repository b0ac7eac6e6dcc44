"""Goodness-of-fit tests: numbers that must be drawn from a distribution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike


def assert_drawn_from(values: ArrayLike, cumulative: Callable[[float], float]) -> None:
    """Test a sample by Kolmogorov and Smirnov; true draws fail once in two thousand times."""
    found = np.sort(np.asarray(values, np.float64).ravel())
    expected = np.array([cumulative(value) for value in found.tolist()])
    steps = np.arange(len(found) + 1) / len(found)
    distance = max((expected - steps[:-1]).max(), (steps[1:] - expected).max())
    assert distance * math.sqrt(len(found)) < 2.0


def assert_counts(counts: Sequence[int], shares: Sequence[float]) -> None:
    """Test counts by chi-square whose expectations have these shares, four standard deviations wide."""
    expected = sum(counts) * np.asarray(shares)
    freedom = len(counts) - 1
    chi_square = ((np.asarray(counts) - expected) ** 2 / expected).sum()
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom) + 4


def uniform(low: float, high: float) -> Callable[[float], float]:
    """The cumulative distribution of U(low, high)."""
    return lambda value: min(max((value - low) / (high - low), 0.0), 1.0)


def normal(deviation: float) -> Callable[[float], float]:
    """The cumulative distribution of N(0, deviation²)."""
    return lambda value: (1 + math.erf(value / deviation / math.sqrt(2))) / 2
