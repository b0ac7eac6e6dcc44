"""Weight averaging: validates and keeps averaged weights, which are steadier than those of the last step."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from models.catalog.technique import Technique


class ExponentialMovingAverage(Technique):
    """Exponential moving average (EMA) of weights: a ← d·a + (1 - d)·w after step t (Polyak & Juditsky, 1992).

    d = min(decay, (1 + t)/(10 + t)). Validation and the checkpoint use the averaged weights a.
    """

    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.99
    """Share of the average that a step keeps, after the first steps; close to 1: a long average."""

    def compute_decay(self, step: int) -> float:
        """Compute d of step 0, 1, 2, …"""
        return min(self.decay, (1 + step) / (10 + step))
