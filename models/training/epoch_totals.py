"""The tally of an epoch that is running."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class EpochTotals:
    """What the steps of a running epoch add up to."""

    steps: int = 0
    seen: int = 0
    correct: int = 0
    loss_sum: float = 0.0
    lr: float = 0.0
    hits: int = 0
    misses: int = 0
    seconds: float = 0.0
