"""Standardization of features to zero mean and unit variance, so that a head learns equally fast from each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Standardization:
    """Standardization of each feature: x ↦ (x - mean) / deviation.

    It is not part of the delivered network: `fold` merges it into the weights of the linear layer that follows.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    @classmethod
    def from_batches(cls, batches: Iterable[torch.Tensor]) -> Standardization:
        """Compute mean and deviation from batches (n, D), which need not fit the memory together."""
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for batch in batches:
            rows = batch.cpu().double()
            count, total, squares = count + len(rows), total + rows.sum(0), squares + rows.square().sum(0)
        mean, square = total / count, squares / count
        deviation = (square - mean.square()).clamp_min(0).sqrt()
        # A nearly constant feature is not scaled up to the size of the others.
        least = 1e-3 * (square.mean() - mean.mean().square()).clamp_min(1e-24).sqrt()
        return cls(mean.float(), deviation.clamp_min(least).float())

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return (features - self.mean) / self.deviation

    def to(self, device: torch.device) -> Standardization:
        """Copy to a device."""
        return Standardization(self.mean.to(device), self.deviation.to(device))

    def fold(self, linear: torch.nn.Linear) -> tuple[torch.Tensor, torch.Tensor]:
        """Fold into a linear layer: (W, b) with W·x + b = linear(standardized x), computed in double precision."""
        weight = linear.weight.detach().double() / self.deviation.double()
        bias = linear.bias.detach().double() - weight @ self.mean.double()
        return weight.float(), bias.float()

    def unfold(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Invert `fold`: (W', b') with W'·(standardized x) + b' = W·x + b."""
        inverse = weight.double() @ self.mean.double() + bias.double()
        return (weight.double() * self.deviation.double()).float(), inverse.float()
