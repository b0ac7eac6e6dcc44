"""Normalizations: layers in an MLP head that keep its units at mean 0 and variance 1 while the weights change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.catalog.technique import Positive, Technique, by_name

if TYPE_CHECKING:
    import torch


class _Normalization(Technique):
    place: Literal["before_activation", "after_activation"] = "before_activation"
    """Position of the normalization: before or after the layer's activation."""
    epsilon: Positive = 1e-5
    """Small number ε added to the variance, so that the division stays finite."""


class BatchNorm(_Normalization):
    """Batch normalization: γ·(z - μ)/√(σ² + ε) + β, unit by unit (Ioffe & Szegedy, 2015).

    μ and σ² are those of the batch in training, running means in evaluation; γ and β are learned.
    """

    kind: Literal["batch_norm"] = "batch_norm"
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Share of the running means that a step keeps (1 minus PyTorch's `momentum`)."""

    def build(self, width: int) -> torch.nn.Module:
        """Build the layer, (B, width) → (B, width)."""
        import torch

        return torch.nn.BatchNorm1d(width, eps=self.epsilon, momentum=1 - self.momentum)


class LayerNorm(_Normalization):
    """Layer normalization: γ·(z - μ)/√(σ² + ε) + β, μ and σ² over the units of one image (Ba et al., 2016).

    γ and β are learned.
    """

    kind: Literal["layer_norm"] = "layer_norm"

    def build(self, width: int) -> torch.nn.Module:
        """Build the layer, (B, width) → (B, width)."""
        import torch

        return torch.nn.LayerNorm(width, eps=self.epsilon)


Normalization = Annotated[BatchNorm | LayerNorm, Field(discriminator="kind"), by_name("batch_norm")]
