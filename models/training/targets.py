"""Targets of training images: their labels, and a teacher's soft targets where a recipe distils."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    import numpy as np

    from models.training.inputs import TrainingRun


class Targets(NamedTuple):
    """Targets of a batch."""

    labels: torch.Tensor
    """(B,), or multi-hot (B, C)."""
    soft: torch.Tensor | None
    """(B, C), a teacher's probabilities at the temperature of the distillation; None without one."""


class TargetTable:
    """Targets of a run's training images, by the images' indices in the pack."""

    def __init__(self, run: TrainingRun) -> None:
        self._images, self._device = torch.from_numpy(run.train.images), run.model.device
        self.labels = torch.from_numpy(run.train.labels)
        """Labels of the training images, in their order."""
        self._labels = self._spread(self.labels)
        self._soft = None
        distillation = run.build_distillation()
        if distillation is not None:
            if run.teacher_logits is None:
                raise ValueError("the recipe distils, and the run has no logits of its teacher")
            self._soft = self._spread(distillation.soften(run.teacher_logits))

    def look_up(self, images: np.ndarray) -> Targets:
        """Look up the targets of a batch of images (B,), on the device of the head."""
        rows = torch.from_numpy(images)
        soft = None if self._soft is None else self._soft[rows].to(self._device)
        return Targets(self._labels[rows].to(self._device), soft)

    def _spread(self, values: torch.Tensor) -> torch.Tensor:
        """Put the value of each training image at the image's index."""
        table = values.new_zeros((int(self._images.max()) + 1, *values.shape[1:]))
        table[self._images] = values
        return table
