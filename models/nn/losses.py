"""Losses that torch lacks."""

from __future__ import annotations

import torch
from torch.nn import functional


class Focal(torch.nn.Module):
    """Focal loss (Lin et al., 2017): mean of -(1 - p)^gamma·log p, weighted by class; p: the label's probability."""

    def __init__(self, gamma: float, weights: torch.Tensor | None) -> None:
        super().__init__()
        self.gamma = gamma
        self.weights: torch.Tensor | None
        self.register_buffer("weights", weights)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Compute the loss of logits (B, C) for labels (B,), a scalar."""
        log_probabilities = -functional.cross_entropy(logits, labels, reduction="none")  # log p
        # At p = 1 a power below one has no finite slope, and that times the zero of log p is no number.
        missing = (-log_probabilities.expm1()).clamp_min(torch.finfo(log_probabilities.dtype).tiny)
        losses = -(missing**self.gamma) * log_probabilities
        if self.weights is None:
            return losses.mean()
        weights = self.weights[labels]
        return (weights * losses).sum() / weights.sum()


class BinaryCrossEntropy(torch.nn.Module):
    """Binary cross-entropy: mean of -w·y·log σ(z) - (1 - y)·log(1 - σ(z)), y smoothed towards 1/2."""

    def __init__(self, smoothing: float, weights: torch.Tensor | None) -> None:
        super().__init__()
        self.smoothing = smoothing
        self.weights: torch.Tensor | None
        self.register_buffer("weights", weights)

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Compute the loss of logits (B, C) for multi-hot targets (B, C) or labels (B,), a scalar."""
        if targets.ndim == 1:
            targets = functional.one_hot(targets, logits.shape[1]).to(logits)
        targets = targets * (1 - self.smoothing) + self.smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=self.weights)
