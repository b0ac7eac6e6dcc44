"""Validation: the logits of the validation images, and what they say of the model or of a baseline."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from models.evaluation.calibration import fit_temperature
from models.evaluation.metrics import evaluate, evaluate_multi_label
from models.features.sources import forward_plain_views
from models.training.class_priors import compute_class_weights, compute_prior_logits
from models.training.diagnostics import ClassRecall
from models.training.selection import Figures
from models.training.step import NotFinite

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from models.training.inputs import TrainingRun
    from models.training.lda import FittedLDA
    from models.training.selection import Selection

    ComputeLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    """(logits, labels) → scalar."""


class Validator:
    """Validates a model as it is: computes logits, loss and accuracies on the validation images."""

    def __init__(self, run: TrainingRun) -> None:
        self.run, self.model = run, run.model
        self._labels = torch.from_numpy(run.validation.labels)
        self._class_weights = compute_class_weights(run)
        self._features = self._hold_features()

    def _hold_features(self) -> torch.Tensor | None:
        """Load the validation images' features into memory, if they stay the same and are few enough."""
        images, source = self.run.validation.images, self.run.source
        is_fixed = source.is_cached and not self.model.cut_network.stages and len(images) <= source.read_batch_size
        return self.model.compute_features(source, images) if is_fixed else None

    def compute_logits(self) -> torch.Tensor:
        """Compute the logits of the validation images, (n, C)."""
        self.model.eval()
        with torch.no_grad():
            if self._features is None:
                images = self.run.validation.images
                return torch.cat(list(forward_plain_views(self.model, self.run.source, images)))
            logits: torch.Tensor = self.model.head(self._features)
            return logits

    def validate(self, compute_loss: ComputeLoss) -> Figures:
        """Compute the figures of the model as it is. Raises NotFinite."""
        return self._compute_figures(self.compute_logits(), compute_loss)

    def measure_recalls(self, logits: np.ndarray) -> list[ClassRecall]:
        """Measure the recall of each class by logits of the validation images, (n, C)."""
        labels, classes = self.run.validation.labels, self.run.classes
        compute = evaluate if labels.ndim == 1 else evaluate_multi_label
        rows = compute(logits, labels, classes)["per_class"]
        counts = self.run.train.count_images(len(classes)).tolist()
        return [
            ClassRecall(row["class"], images, row["support"], row["recall"])
            for row, images in zip(rows, counts, strict=True)
        ]

    def add_baselines(self, selection: Selection, compute_loss: ComputeLoss, lda: FittedLDA | None) -> Figures:
        """Validate the predictors that need no step: the constant, LDA and the start, whose figures are returned.

        Args:
            selection: that is to compare with them.
            compute_loss: of the training.
            lda: a classifier for a linear head that starts otherwise.

        Raises NotFinite.
        """
        output = self.model.head.output
        start = self.validate(compute_loss)
        if output.bias is not None:
            constant = compute_prior_logits(self.run).to(output.bias)
            figures = self._compute_figures(constant.expand(len(self._labels), -1), compute_loss)
            zeros = torch.zeros_like(output.weight)
            selection.add_baseline("constant", figures, lambda: self._copy_state(zeros, constant))
        if lda is not None:
            own = self.model.copy_state()
            self.model.load_state_dict(self._copy_state(lda.weight, lda.bias))
            selection.add_baseline("lda", self.validate(compute_loss), self.model.copy_state)
            self.model.load_state_dict(own)
        recipe = self.run.recipe
        name = "probe" if recipe.cut.probe else "lda" if recipe.starts_from_lda else "start"
        selection.add_baseline(name, start, self.model.copy_state)
        return start

    def _copy_state(self, weight: torch.Tensor, bias: torch.Tensor) -> dict[str, torch.Tensor]:
        """Copy the model's state with other weights in the output layer."""
        return {**self.model.copy_state(), "head.output.weight": weight, "head.output.bias": bias}

    def _compute_figures(self, logits: torch.Tensor, compute_loss: ComputeLoss) -> Figures:
        logits, labels = logits.to(self.model.device), self._labels.to(self.model.device)
        loss, calibrated = compute_loss(logits, labels).item(), None
        if not math.isfinite(loss):
            raise NotFinite(f"The validation loss became {loss}.")
        if self.run.recipe.cut.probe:
            temperature = fit_temperature(logits.cpu().numpy(), self.run.validation.labels)
            calibrated = compute_loss(logits / temperature, labels).item()
        return Figures.from_logits(loss, logits.cpu(), self._labels, self._class_weights, calibrated)
