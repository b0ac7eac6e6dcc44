"""Selection of the weights to deliver: the best epoch, unless a baseline is better on the validation images.

Baselines need no training steps: the head's start, linear discriminant analysis (LDA), and the constant, which predicts
the priors for every image. No epoch is delivered that classifies fewer validation images correctly than a baseline
does. Where the recipe weights classes, by its loss or its sampling, the images of each class count by its weight, so
that what a rare class costs the others is not held against it. Of several labels an image the loss alone decides.

Trained stages become sure of themselves long before they stop to learn: their loss rises while their accuracy does.
Where they start from the head alone, whose loss is small, losses are compared after the temperature by which the
delivered weights are divided.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from models.evaluation.metrics import count_correct
from models.messages import Noted

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.catalog.early_stopping import EarlyStopping

    State = dict[str, torch.Tensor]


BASELINES = {
    "constant": "the constant predictor, which says how often each class occurs",
    "lda": "linear discriminant analysis in closed form",
    "probe": "the head that was trained alone, on the frozen backbone",
    "start": "the head before its first step",
}
"""Baselines, by name."""


class Figures(NamedTuple):
    """Figures of a predictor on the validation images."""

    loss: float
    accuracy: float
    balanced_accuracy: float | None
    """Mean recall of the classes; None where images have several labels."""
    weighted_accuracy: float | None
    """Accuracy with each class's weight in the recipe; None where images have several labels."""
    calibrated_loss: float | None = None
    """Loss of the logits divided by their temperature, as they are delivered; None where the plain one is compared."""

    @classmethod
    def from_logits(
        cls,
        loss: float,
        logits: torch.Tensor,
        labels: torch.Tensor,
        class_weights: torch.Tensor,
        calibrated_loss: float | None = None,
    ) -> Figures:
        """Compute them from logits (n, C), labels (n,) or multi-hot (n, C), and class weights (C,)."""
        accuracy = count_correct(logits, labels) / len(labels)
        if labels.ndim == 2:
            return cls(loss, accuracy, None, None, calibrated_loss)
        hits, counts = (
            torch.bincount(which, minlength=len(class_weights)).double()
            for which in (labels[logits.argmax(1) == labels], labels)
        )
        occurs = counts > 0
        weighted = (class_weights * hits).sum() / (class_weights * counts).sum()
        return cls(loss, accuracy, (hits[occurs] / counts[occurs]).mean().item(), weighted.item(), calibrated_loss)


class Selection:
    """Keeps the best of the baselines and of the epochs so far."""

    def __init__(self, stopping: EarlyStopping | None, *, interpolates: bool = False) -> None:
        """Without early stopping, the last epoch is kept; `interpolates`: points on the way to the best are tried."""
        self._stopping, self._interpolates = stopping, interpolates
        self.name = ""
        """What is selected: the name of a baseline, or "epoch"."""
        self.epoch = 0
        """The epoch that is selected; 0 for a baseline."""
        self.state: State = {}
        """Its weights."""
        self.figures: dict[str, float] = {}
        """Its validation loss and accuracy."""
        self.share: float | None = None
        """Of the way from the start to the epoch that is selected, where its weights are; None: it is a baseline."""
        self.baselines: dict[str, dict[str, float]] = {}
        """Validation loss and accuracy of each baseline, by name."""
        self.improved = 0
        """The last epoch that was better than all epochs before it."""
        self.improved_state: State | None = None
        """Its weights, where they may be interpolated; None while the selected weights are those of an epoch."""
        self.is_below_baseline = False
        """True if the last epoch is kept, as the recipe asks for, though a baseline is more accurate."""
        self._value: float | None = None
        self._improved_value: float | None = None
        self._floor = -math.inf
        """Accuracy below which no epoch is selected."""

    def add_baseline(self, name: str, figures: Figures, copy_state: Callable[[], State]) -> None:
        """Take a baseline into account."""
        self.baselines[name] = _summarize(figures)
        value, accuracy = self._get_value(figures), _get_floor(figures)
        if accuracy > self._floor or (accuracy == self._floor and self._is_improvement(value, self._value)):
            self.name, self.state, self._value, self._floor = name, copy_state(), value, accuracy
            self.figures = _summarize(figures)

    def add_epoch(
        self, epoch: int, figures: Figures, copy_state: Callable[[], State], *, reaches_target: bool = False
    ) -> bool:
        """Take an epoch into account; one that reaches the recipe's target is the last.

        Returns whether it is the best so far: the one that is selected or, where the last epoch is, that would be.
        """
        value, is_eligible = self._get_value(figures), _get_floor(figures) >= self._floor
        improves = self._is_improvement(value, self._improved_value)
        if improves:
            self._improved_value, self.improved = value, epoch
        is_better = is_eligible and (reaches_target or self._is_improvement(value, self._value))
        if is_better or self._stopping is None:
            self.name, self.epoch, self.state, self._value = "epoch", epoch, copy_state(), value
            self.figures, self.share = _summarize(figures), 1.0
            self.is_below_baseline = not is_eligible
        if self.name == "epoch":
            self.improved_state = None
        elif improves and self._interpolates:
            self.improved_state = copy_state()
        return is_better if self._stopping is not None else improves and is_eligible

    def add_point(self, share: float, figures: Figures, copy_state: Callable[[], State]) -> None:
        """Take a point on the line from the start of training, share 0, to the best epoch, 1, into account."""
        value = self._get_value(figures)
        if _get_floor(figures) >= self._floor and self._is_improvement(value, self._value):
            self.state, self._value = copy_state(), value
            self.figures, self.share = _summarize(figures), share
            if self.name != "epoch":
                self.name, self.epoch = "epoch", self.improved

    def report_baseline(self) -> Noted:
        """Report that a baseline is delivered."""
        words = BASELINES[self.name]
        return Noted(
            kind="baseline_delivered",
            message=f"On the validation images no epoch was better than {words}, which is delivered",
            data={"baseline": self.name, "baselines": self.baselines},
        )

    def state_dict(self) -> dict[str, Any]:
        """State to resume from; its tensors are shared, not copied."""
        return {
            "name": self.name,
            "epoch": self.epoch,
            "model": self.state,
            "figures": self.figures,
            "share": self.share,
            "baselines": self.baselines,
            "improved": self.improved,
            "improved_state": self.improved_state,
            "is_below_baseline": self.is_below_baseline,
            "values": [self._value, self._improved_value],
            "floor": self._floor,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict()` gave."""
        self.name, self.epoch, self.state = state["name"], state["epoch"], state["model"]
        self.figures, self.share = state.get("figures", {}), state.get("share")  # those of earlier releases have none
        self.baselines, self.improved = state["baselines"], state["improved"]
        self.improved_state = state.get("improved_state")
        self.is_below_baseline, self._floor = state["is_below_baseline"], state["floor"]
        self._value, self._improved_value = state["values"]

    def _get_value(self, figures: Figures) -> float:
        """Look up the metric of early stopping."""
        if self._stopping is None or self._stopping.metric == "validation_loss":
            return figures.loss if figures.calibrated_loss is None else figures.calibrated_loss
        return figures.accuracy if figures.weighted_accuracy is None else figures.weighted_accuracy

    def _is_improvement(self, value: float, best: float | None) -> bool:
        if self._stopping is None:
            return best is None or value < best
        return self._stopping.is_improvement(value, best)


def _summarize(figures: Figures) -> dict[str, float]:
    return {"validation_loss": figures.loss, "validation_accuracy": figures.accuracy}


def _get_floor(figures: Figures) -> float:
    return -math.inf if figures.weighted_accuracy is None else figures.weighted_accuracy
