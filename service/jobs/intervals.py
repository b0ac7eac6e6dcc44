"""Wilson's interval: where a share that was counted among a few images may truly lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z = 1.96
"""Standard deviations of an interval that holds the true share in 95 of 100 cases."""


@dataclass(frozen=True)
class Interval:
    """A share that was counted, and the interval in which the true one lies with 95% confidence (Wilson)."""

    share: float
    low: float
    high: float


def compute_interval(share: float, count: int) -> Interval:
    """Compute Wilson's interval of a share of `count` images: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)."""
    if not count:
        return Interval(share, 0.0, 1.0)
    scale = 1 + Z**2 / count
    centre = (share + Z**2 / (2 * count)) / scale
    half = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2)) / scale
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def count_share(part: int, count: int) -> Interval | None:
    """Compute the share of `part` in `count` with its interval; None of nothing."""
    return compute_interval(part / count, count) if count else None
