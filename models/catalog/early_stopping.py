"""Stopping: when to end before the last epoch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from models.catalog.technique import Epochs, NotNegative, Technique

Metric = Literal["validation_loss", "validation_accuracy"]


class EarlyStopping(Technique):
    """Stops after `patience` epochs in which the metric was not better than its best by `min_delta` (Prechelt, 1998).

    The delivered checkpoint is that of the best epoch.
    """

    metric: Metric = "validation_loss"
    """What has to improve: the loss has to fall, the accuracy to rise."""
    patience: Epochs = 20
    """Epochs without improvement before it stops."""
    min_delta: NotNegative = 0.0
    """Smallest change that counts as improvement."""

    def improved(self, value: float, best: float | None) -> bool:
        """Whether `value` of the metric is better than `best` so far."""
        if best is None:
            return True
        gain = best - value if self.metric == "validation_loss" else value - best
        return gain > self.min_delta


class Target(Technique):
    """Stops as soon as an epoch ends with validation loss ≤ value, or validation accuracy ≥ value.

    The delivered checkpoint is that of this epoch.
    """

    metric: Metric = "validation_accuracy"
    """What has to reach the value."""
    value: NotNegative = 0.99
    """The value; accuracies are fractions."""

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if self.metric == "validation_accuracy" and self.value > 1.0:
            raise ValueError(f"no accuracy is above 1: say {self.value:g}% as {self.value / 100:g}")
        return self

    def reached(self, value: float) -> bool:
        """Whether it is as good as that."""
        return value <= self.value if self.metric == "validation_loss" else value >= self.value
