"""View schedule: augmented views are added one by one, while they improve the validation loss."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.messages import EpochEnded

PATIENCE = 10
"""Epochs without improvement after which another view is considered."""
WORTH = 0.01
"""Least relative decrease of the validation loss by a view, for another one to be tried."""
EASY = 0.95
"""Accuracy and balanced accuracy on the validation images from which no view is tried: the possible gain is less than
the cost."""


class ViewSchedule:
    """Adds augmented views on a plateau of the validation loss, or has all of them from the start.

    A view is computed to be tried, so none is tried where it cannot help: where the head fits the training images no
    better than the validation images.
    """

    def __init__(self, most: int, grows: bool, patience: int | None) -> None:
        """`patience`: epochs without improvement after which training would stop, if it does."""
        self.views = 0 if grows else most
        self._most = most
        self._patience = PATIENCE if patience is None else min(PATIENCE, patience)
        self._best = self._before = math.inf
        self._waited = 0
        self.is_over = self.views >= most

    def update(self, ended: EpochEnded) -> bool:
        """Take the losses of an epoch into account; returns whether a view was added."""
        if self.is_over:
            return False
        self._waited += 1
        if ended.validation_loss < self._best:
            self._best, self._waited = ended.validation_loss, 0
        if self._waited < self._patience:
            return False
        has_helped = self.views == 0 or self._best <= self._before * (1 - WORTH)
        balanced = ended.validation_balanced_accuracy
        hardest = ended.validation_accuracy if balanced is None else min(balanced, ended.validation_accuracy)
        can_help = hardest < EASY and ended.validation_accuracy < ended.train_accuracy
        if not (has_helped and can_help):
            self.is_over = True
            return False
        self._before, self._waited = self._best, 0
        self.views += 1
        self.is_over = self.views >= self._most
        return True

    def state_dict(self) -> dict[str, Any]:
        """State to resume from: the number of views, and the losses that decide about the next one."""
        return {
            "views": self.views,
            "losses": [self._best, self._before],
            "waited": self._waited,
            "is_over": self.is_over,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict()` gave."""
        self.views, self._waited, self.is_over = state["views"], state["waited"], state["is_over"]
        self._best, self._before = state["losses"]
