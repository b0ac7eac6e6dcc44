"""Early stopping: end when validation no longer improves, and keep the best epoch (Prechelt, 1998)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from models.catalog.technique import Technique


class EarlyStopping(Technique):
    """Stops after `patience` epochs in which the metric was not better than its best by `min_delta` (Prechelt, 1998).

    The delivered checkpoint is that of the best epoch.
    """

    metric: Literal["validation_loss", "validation_accuracy"] = "validation_loss"
    """What has to improve: the loss has to fall, the accuracy to rise."""
    patience: PositiveInt = 20
    """Epochs without improvement before it stops."""
    min_delta: Annotated[float, Field(ge=0.0)] = 0.0
    """Smallest change that counts as improvement."""

    def improved(self, value: float, best: float | None) -> bool:
        """Whether `value` of the metric is better than `best` so far."""
        if best is None:
            return True
        gain = best - value if self.metric == "validation_loss" else value - best
        return gain > self.min_delta
