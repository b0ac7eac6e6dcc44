"""Rounding of fast features: how much it may change a model's logits, estimated from images that were computed twice.

As in `models.evaluation.exact_predictions`: an image whose lead is smaller than SAFETY times the greatest change that
was seen on other images is computed once more, exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch

from models.evaluation.exact_predictions import FIRST, SAFETY

if TYPE_CHECKING:
    from predictor.plan import Plan


class Rounding:
    """Images of one trunk whose fast values, of one kind, and exact values are both known."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []
        self._changes: WeakKeyDictionary[Plan, list[np.ndarray]] = WeakKeyDictionary()

    @property
    def is_known(self) -> bool:
        """True once enough images were computed twice; until then each is computed exactly."""
        return len(self._pairs) >= FIRST

    def add(self, fast: np.ndarray, exact: np.ndarray) -> None:
        """Learn from an image that was computed twice; FIRST are kept, and from then on those that differ more."""
        if not self.is_known:
            self._pairs.append((fast.copy(), exact.copy()))
            self._changes.clear()
            return
        distances = [float(abs(one - other).max()) for one, other in self._pairs]
        least = distances.index(min(distances))
        if float(abs(fast - exact).max()) > distances[least]:
            self._pairs[least] = (fast.copy(), exact.copy())
            self._changes.clear()

    def find_bounds(self, plan: Plan) -> list[np.ndarray]:
        """Find by how much rounding may change a label's lead, for each group's models: (models,)."""
        return [SAFETY * changes for changes in self._measure_changes(plan)]

    def _measure_changes(self, plan: Plan) -> list[np.ndarray]:
        """Measure the greatest change of a lead that was seen, for each group's models: (models,)."""
        if plan not in self._changes:
            fast, exact = (
                plan.compute(torch.stack([torch.from_numpy(pair[side]) for pair in self._pairs]).to(self._device))
                for side in (0, 1)
            )
            self._changes[plan] = [
                _measure_change(near - true, is_multi_label=group.is_multi_label)
                for group, near, true in zip(plan.groups, fast, exact, strict=True)
            ]
        return self._changes[plan]


def _measure_change(change: np.ndarray, *, is_multi_label: bool) -> np.ndarray:
    """Measure the greatest change of a logit, or of one's lead over another: (B, models, C) → (models,)."""
    if is_multi_label:
        greatest: np.ndarray = np.abs(change).max((0, 2))
        return greatest
    leads: np.ndarray = (change.max(2) - change.min(2)).max(0)
    return leads
