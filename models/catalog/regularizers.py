"""Regularizers: terms of the loss that keep weights small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.catalog.technique import Technique

if TYPE_CHECKING:
    import torch


class L2(Technique):
    """Adds strength/2 · Σw² over the weights, biases and norms left out (Tikhonov; Hoerl & Kennard, 1970)."""

    kind: Literal["l2"] = "l2"
    strength: Annotated[float, Field(ge=0.0)] | Literal["auto"] = "auto"
    """Factor of the penalty; auto: 10 / (pictures to train on), logistic regression's C = 0.1."""

    def resolve(self, pictures: int) -> L2:
        """The same with its strength known."""
        if self.strength != "auto":
            return self
        return self.model_copy(update={"strength": 10.0 / pictures})

    def penalty(self, network: torch.nn.Module) -> torch.Tensor:
        """The term to add to the loss, a scalar, for a resolved technique."""
        import torch

        assert self.strength != "auto"
        weights = [p for p in network.parameters() if p.ndim > 1]
        return self.strength / 2 * torch.stack([w.square().sum() for w in weights]).sum()


Regularizer = L2
