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


class DistillationLoss(torch.nn.Module):
    """Distillation (Hinton et al., 2015): (1 - w)·loss + w·T²·KL(p ‖ q), p of a teacher, q of logits divided by T.

    p and q are distributions over the classes or, of several labels, of each one; then the mean over labels counts.
    """

    def __init__(self, temperature: float, weight: float, *, is_multi_label: bool) -> None:
        super().__init__()
        self.temperature, self.weight, self.is_multi_label = temperature, weight, is_multi_label

    def soften(self, logits: torch.Tensor) -> torch.Tensor:
        """Compute the soft targets p (…, C) of a teacher's logits."""
        scaled = logits / self.temperature
        return scaled.sigmoid() if self.is_multi_label else scaled.softmax(-1)

    def forward(self, loss: torch.Tensor, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Compute the loss of logits (B, C) for soft targets (B, C), with the loss of their labels, a scalar."""
        scaled = logits / self.temperature
        if self.is_multi_label:
            divergence = _divergence(functional.logsigmoid(scaled), targets)
            divergence = (divergence + _divergence(functional.logsigmoid(-scaled), 1 - targets)) / logits.shape[1]
        else:
            divergence = _divergence(scaled.log_softmax(1), targets)
        return (1 - self.weight) * loss + self.weight * self.temperature**2 * divergence


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


def _divergence(log_probabilities: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Compute the mean over rows of Σ p·log(p/q), of log q and p (B, C)."""
    return functional.kl_div(log_probabilities, targets, reduction="batchmean")
