"""Early stopping: when training ends before its last epoch, and which epoch's weights it keeps."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from models.catalog.technique import Epochs, NotNegative, Technique

Metric = Literal["validation_loss", "validation_accuracy"]


class EarlyStopping(Technique):
    """Early stopping: stop when the metric has not improved for `patience` epochs in a row (Prechelt, 1998).

    An epoch improves if its value is better than the best so far by more than `min_delta`. The job's checkpoint is
    that of the best epoch. An epoch that classifies fewer validation images correctly than the constant predictor or
    linear discriminant analysis does is never the best; where all are worse, the better of these is delivered.
    """

    metric: Metric = "validation_loss"
    """Metric that has to improve: the validation loss falls, or the validation accuracy rises. Where the recipe weights
    classes, in the accuracy too. Where stages are trained from the head alone (`cut.probe`), the loss is that after the
    temperature by which the delivered weights are divided."""
    patience: Epochs = 20
    """Epochs in a row without improvement after which training stops."""
    min_delta: NotNegative = 0.0
    """A change up to this size does not count as improvement; in units of the metric."""

    def is_improvement(self, value: float, best: float | None) -> bool:
        """Tell whether `value` of the metric is better than `best` so far."""
        if best is None:
            return True
        gain = best - value if self.metric == "validation_loss" else value - best
        return gain > self.min_delta


class Target(Technique):
    """Target: stop as soon as an epoch ends with validation loss ≤ value, or validation accuracy ≥ value.

    The job's checkpoint is that of this epoch, unless the constant predictor or linear discriminant analysis is better.
    """

    metric: Metric = "validation_accuracy"
    """Metric that has to reach the value."""
    value: NotNegative = 0.99
    """Value to reach; an accuracy is a fraction between 0 and 1."""

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if self.metric == "validation_accuracy" and self.value > 1.0:
            raise ValueError(f"no accuracy is above 1: write {self.value:g}% as {self.value / 100:g}")
        return self

    def is_reached(self, value: float) -> bool:
        """Tell whether `value` of the metric is good enough."""
        return value <= self.value if self.metric == "validation_loss" else value >= self.value
