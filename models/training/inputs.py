"""A training run: the recipe, the model and the images that training, LDA, range test and search share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.runtime.stop_condition import NONE

if TYPE_CHECKING:
    import torch
    from torch import nn

    from models.catalog.recipe import ResolvedRecipe
    from models.features.sources import FeatureSource
    from models.nn.losses import DistillationLoss
    from models.runtime.stop_condition import StopCondition
    from models.training.trainable_model import TrainableModel


@dataclass(frozen=True)
class Subset:
    """Subset of a dataset: indices of its images, (n,), with labels, (n,) or multi-hot (n, C)."""

    images: np.ndarray
    labels: np.ndarray

    def count_images(self, num_classes: int) -> np.ndarray:
        """Count the images of each class, (C,)."""
        counts = self.labels.sum(0) if self.labels.ndim == 2 else np.bincount(self.labels, minlength=num_classes)
        return counts.astype(int)


@dataclass(frozen=True)
class TrainingRun:
    """Inputs of one training run: recipe, model, feature source, training and validation images, a teacher's logits."""

    recipe: ResolvedRecipe
    classes: list[str]
    model: TrainableModel
    source: FeatureSource
    train: Subset
    validation: Subset
    stop_condition: StopCondition = NONE
    teacher_logits: torch.Tensor | None = None
    """(n, C), of the training images, where the recipe distils them."""

    def build_loss(self) -> nn.Module:
        """Build the recipe's loss on the device of the head."""
        loss: nn.Module = self.recipe.loss.build(self.classes)
        return loss.to(self.model.device)

    def build_distillation(self) -> DistillationLoss | None:
        """Build the loss by which the recipe distils; None where it does not."""
        distillation = self.recipe.distillation
        return None if distillation is None else distillation.build(self.recipe.task)
