"""Heads: the new layers that replace the backbone's classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.catalog.technique import Technique

if TYPE_CHECKING:
    import torch


class Linear(Technique):
    """logits = W·dropout(x) + b on standardized features x; the scale is folded into the delivered W and b.

    Dropout zeroes each feature with probability p and divides the others by 1 - p (Srivastava et al., 2014). W and b
    start at zero: the problem is convex, and every class is equally likely before training.
    """

    kind: Literal["linear"] = "linear"
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Probability with which a feature is dropped in training."""

    def build(self, num_features: int, num_classes: int) -> torch.nn.Sequential:
        """Dropout, then the linear layer: (B, num_features) → (B, num_classes)."""
        import torch

        linear = torch.nn.Linear(num_features, num_classes)
        torch.nn.init.zeros_(linear.weight)
        torch.nn.init.zeros_(linear.bias)
        return torch.nn.Sequential(torch.nn.Dropout(self.dropout), linear)


Head = Linear
