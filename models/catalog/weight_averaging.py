"""Averaging: of the weights of many steps, which is steadier than the last ones."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from models.catalog.technique import Technique


class ExponentialMovingAverage(Technique):
    """a ← d·a + (1 - d)·w after step t, d = min(decay, (1 + t)/(10 + t)) (Polyak & Juditsky, 1992).

    The averaged weights are those that are validated and delivered.
    """

    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.99
    """Share of the average that one step keeps, once there were enough steps."""

    def share(self, step: int) -> float:
        """d of step 0, 1, 2, …"""
        return min(self.decay, (1 + step) / (10 + step))
