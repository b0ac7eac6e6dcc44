"""Losses: what training makes small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveFloat

from models.catalog.technique import Technique

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch


class CrossEntropy(Technique):
    """Mean of -log softmax(logits)[label], each picture times its class's weight, over the sum of weights.

    With label smoothing s the target is 1 - s + s/C for the label and s/C for the others (Szegedy et al., 2016).
    """

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the target that is spread evenly over all classes."""
    class_weights: dict[str, PositiveFloat] | Literal["auto"] | None = None
    """Weight by class name (others: 1); auto: pictures / (classes · pictures of the class); none: all 1."""

    def resolve(self, class_counts: Mapping[str, int]) -> CrossEntropy:
        """The same with automatic class weights known, from the pictures to train on in each class."""
        if self.class_weights != "auto":
            return self
        total = sum(class_counts.values())
        weights = {name: total / (len(class_counts) * count) for name, count in class_counts.items()}
        return self.model_copy(update={"class_weights": weights})

    def build(self, classes: list[str]) -> torch.nn.Module:
        """The loss (logits (B, C), labels (B,)) → scalar, for a resolved technique."""
        import torch

        weights = None
        if isinstance(self.class_weights, dict):
            weights = torch.tensor([self.class_weights.get(name, 1.0) for name in classes])
        return torch.nn.CrossEntropyLoss(weights, label_smoothing=self.label_smoothing)


Loss = CrossEntropy
