"""Normalizations: what keeps the sums of a new layer at mean 0 and variance 1 while the layers below it change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.catalog.technique import Positive, Technique, by_name

if TYPE_CHECKING:
    import torch


class _Normalization(Technique):
    place: Literal["before_activation", "after_activation"] = "before_activation"
    """Where it stands."""
    epsilon: Positive = 1e-5
    """Added to the variance; keeps the division finite."""


class BatchNorm(_Normalization):
    """γ·(z - μ)/√(σ² + ε) + β: μ and σ² of the batch in training, their running means after (Ioffe & Szegedy, 2015).

    γ and β are learned, unit by unit.
    """

    kind: Literal["batch_norm"] = "batch_norm"
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Share of the running means that one step keeps."""

    def build(self, width: int) -> torch.nn.Module:
        """The layer: (B, width) → (B, width)."""
        import torch

        return torch.nn.BatchNorm1d(width, eps=self.epsilon, momentum=1 - self.momentum)


class LayerNorm(_Normalization):
    """γ·(z - μ)/√(σ² + ε) + β, μ and σ² over the units of one image (Ba et al., 2016). γ and β are learned."""

    kind: Literal["layer_norm"] = "layer_norm"

    def build(self, width: int) -> torch.nn.Module:
        """The layer: (B, width) → (B, width)."""
        import torch

        return torch.nn.LayerNorm(width, eps=self.epsilon)


Normalization = Annotated[BatchNorm | LayerNorm, Field(discriminator="kind"), by_name("batch_norm")]
