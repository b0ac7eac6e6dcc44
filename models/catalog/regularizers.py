"""Regularizers: what keeps the weights of the new layers small. Biases and norms are left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field

from models.catalog.technique import NotNegative, Positive, Technique, by_name, known

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

Strength = NotNegative | Literal["auto"]


class Penalty(Technique):
    """A regularizer that is a term of the loss."""

    def penalty(self, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """The term to add to the loss, a scalar."""
        raise NotImplementedError


class Constraint(Technique):
    """A regularizer that changes the weights after each step."""

    def constrain(self, weights: Sequence[torch.Tensor], lr: float) -> None:
        """Change the weights (units, inputs) in place, after a step at rate `lr`, with gradients off."""
        raise NotImplementedError


class _Decay(Technique):
    strength: Strength = "auto"
    """Factor; auto: 10 / (images to train on), logistic regression's C = 0.1."""

    def resolve(self, images: int) -> Self:
        """The same with its strength known."""
        if self.strength != "auto":
            return self
        return self.model_copy(update={"strength": 10.0 / images})

    @property
    def known(self) -> float:
        """The strength of a resolved technique."""
        return known(self.strength)


class L1(_Decay, Penalty):
    """Adds strength·Σ|w| to the loss: it pulls weights to zero (Tibshirani, 1996)."""

    kind: Literal["l1"] = "l1"
    strength: Strength = "auto"
    """Factor of the penalty; auto: 0.1 / (images to train on)."""

    def resolve(self, images: int) -> Self:
        """The same with its strength known."""
        return self if self.strength != "auto" else self.model_copy(update={"strength": 0.1 / images})

    def penalty(self, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """The term to add to the loss, a scalar."""
        import torch

        return self.known * torch.stack([weight.abs().sum() for weight in weights]).sum()


class L2(_Decay, Penalty):
    """Adds strength/2·Σw² to the loss: ridge regression (Tikhonov; Hoerl & Kennard, 1970)."""

    kind: Literal["l2"] = "l2"

    def penalty(self, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """The term to add to the loss, a scalar."""
        import torch

        return self.known / 2 * torch.stack([weight.square().sum() for weight in weights]).sum()


class WeightDecay(_Decay, Constraint):
    """w ← max(0, 1 - lr·strength)·w after each step, apart from the gradient (Loshchilov & Hutter, 2019)."""

    kind: Literal["weight_decay"] = "weight_decay"

    def constrain(self, weights: Sequence[torch.Tensor], lr: float) -> None:
        """Shrink the weights, in place; call it after a step at rate `lr`, with gradients off."""
        for weight in weights:
            weight.mul_(max(0.0, 1 - lr * self.known))


class MaxNorm(Constraint):
    """w ← w·min(1, r/‖w‖₂) after each step, w the weights that lead into one unit (Srebro et al., 2005)."""

    kind: Literal["max_norm"] = "max_norm"
    r: Positive = 1.0
    """Largest length of a unit's weights."""

    def resolve(self, images: int) -> MaxNorm:
        """Itself: nothing depends on the data."""
        return self

    def constrain(self, weights: Sequence[torch.Tensor], lr: float) -> None:
        """Rescale the weights (units, inputs), in place; call it after each step, with gradients off."""
        import torch

        for weight in weights:
            weight.copy_(torch.renorm(weight, 2, 0, self.r))


Regularizer = Annotated[L1 | L2 | WeightDecay | MaxNorm, Field(discriminator="kind"), by_name("l2")]
