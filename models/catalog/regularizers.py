"""Regularizers: penalties and constraints on the weights of the new layers, biases and norms excepted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field

from models.catalog.technique import NotNegative, Positive, Technique, by_name, known

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

Strength = NotNegative | Literal["auto"]


class Penalty(Technique):
    """Base of regularizers that add a term to the loss."""

    def compute_penalty(self, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compute the term to add to the loss, a scalar."""
        raise NotImplementedError


class Constraint(Technique):
    """Base of regularizers that change the weights after each step."""

    def constrain(self, weights: Sequence[torch.Tensor], lr: float) -> None:
        """Change the weights (units, inputs) in place, after a step at rate `lr`, with gradients off."""
        raise NotImplementedError


class _Decay(Technique):
    strength: Strength = "auto"
    """Strength; auto: 10 / (training images), like C = 0.1 of scikit-learn's logistic regression."""

    def resolve(self, images: int) -> Self:
        """Compute an automatic strength from the number of training images."""
        if self.strength != "auto":
            return self
        return self.model_copy(update={"strength": 10.0 / images})

    @property
    def known(self) -> float:
        """The strength of a resolved technique."""
        return known(self.strength)


class L1(_Decay, Penalty):
    """L1 penalty, or lasso: adds strength·Σ|w| to the loss, which drives weights to zero (Tibshirani, 1996)."""

    kind: Literal["l1"] = "l1"
    strength: Strength = "auto"
    """Strength; auto: 0.1 / (training images)."""

    def resolve(self, images: int) -> Self:
        """Compute an automatic strength from the number of training images."""
        return self if self.strength != "auto" else self.model_copy(update={"strength": 0.1 / images})

    def compute_penalty(self, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compute the term to add to the loss, a scalar."""
        import torch

        return self.known * torch.stack([weight.abs().sum() for weight in weights]).sum()


class L2(_Decay, Penalty):
    """L2 penalty, or ridge regression: adds strength/2·Σw² to the loss (Tikhonov; Hoerl & Kennard, 1970)."""

    kind: Literal["l2"] = "l2"

    def compute_penalty(self, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compute the term to add to the loss, a scalar."""
        import torch

        return self.known / 2 * torch.stack([weight.square().sum() for weight in weights]).sum()


class WeightDecay(_Decay, Constraint):
    """Decoupled weight decay: w ← max(0, 1 - lr·strength)·w after each step (Loshchilov & Hutter, 2019)."""

    kind: Literal["weight_decay"] = "weight_decay"

    def constrain(self, weights: Sequence[torch.Tensor], lr: float) -> None:
        """Shrink the weights in place; call it after a step at rate `lr`, with gradients off."""
        for weight in weights:
            weight.mul_(max(0.0, 1 - lr * self.known))


class MaxNorm(Constraint):
    """Max-norm constraint: w ← w·min(1, r/‖w‖₂) after each step, w a unit's incoming weights (Srebro et al., 2005)."""

    kind: Literal["max_norm"] = "max_norm"
    r: Positive = 1.0
    """Largest L2 norm of a unit's incoming weights."""

    def resolve(self, images: int) -> MaxNorm:
        """Return the constraint itself: nothing in it depends on the data."""
        return self

    def constrain(self, weights: Sequence[torch.Tensor], lr: float) -> None:
        """Rescale the weights (units, inputs) in place; call it after each step, with gradients off."""
        import torch

        for weight in weights:
            weight.copy_(torch.renorm(weight, 2, 0, self.r))


Regularizer = Annotated[L1 | L2 | WeightDecay | MaxNorm, Field(discriminator="kind"), by_name("l2")]
