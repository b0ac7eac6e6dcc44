"""Low-rank updates of weights (LoRA): two small factors are trained, and the weight itself holds the merged sum."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class LowRankUpdate(nn.Module):
    """Trained low-rank update of a weight: W = W₀ + scale·B·A (Hu et al., 2022; arXiv:2106.09685).

    A weight of more than two dimensions is a matrix (outputs, all else). The weight holds the sum at any time, so that
    its layer, of whatever kind, computes as a plain one does, and nothing is left to merge in the end. The weight's
    gradient G becomes that of the factors: scale·Bᵀ·G of A, and scale·G·Aᵀ of B.
    """

    start: torch.Tensor
    """W₀, in the weight's shape."""

    def __init__(self, weight: nn.Parameter, rank: int, scale: float) -> None:
        """Draw A (rank, all else) as torch draws the weight of a linear layer; B (outputs, rank) is 0."""
        super().__init__()
        rows = len(weight)
        self.down = nn.Parameter(weight.new_empty(rank, weight.numel() // rows))
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))
        self.scale = scale
        self.register_buffer("start", weight.detach().clone(), persistent=False)
        self._weight = (weight,)  # a tuple, so that it is no parameter of this module too
        learns = weight.requires_grad
        weight.requires_grad_(True)  # torch registers no hook of a frozen one
        weight.register_post_accumulate_grad_hook(self._take_gradient)  # type: ignore[no-untyped-call]
        weight.requires_grad_(learns)

    @torch.no_grad()
    def merge(self) -> None:
        """Set the weight to W₀ + scale·B·A."""
        (weight,) = self._weight
        weight.copy_(self.start + self.scale * (self.up @ self.down).reshape(weight.shape))

    @torch.no_grad()
    def _take_gradient(self, weight: torch.Tensor) -> None:
        """Turn the weight's gradient into those of the factors; several in a row add up, as those of a weight do."""
        assert weight.grad is not None
        gradient = weight.grad.reshape(len(weight), -1)
        _accumulate(self.down, self.scale * (self.up.T @ gradient))
        _accumulate(self.up, self.scale * (gradient @ self.down.T))
        weight.grad = None


def merge_after_steps(optimizer: torch.optim.Optimizer, updates: Sequence[LowRankUpdate]) -> None:
    """Merge updates after each step of the optimizer that trains their factors."""

    def merge(*_: object) -> None:
        for update in updates:
            if update.up.grad is not None:  # its stage is trained by now
                update.merge()

    optimizer.register_step_post_hook(merge)


def _accumulate(parameter: nn.Parameter, gradient: torch.Tensor) -> None:
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
