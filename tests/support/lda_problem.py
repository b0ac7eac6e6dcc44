"""A problem of three classes for linear discriminant analysis, and its fit by definition."""

from __future__ import annotations

import torch

from models.training.lda import Statistics


def problem(rows: int = 300, features: int = 20, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes, standardized, of different sizes."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(torch.tensor([0.5, 0.3, 0.2]), rows, replacement=True, generator=random)
    mixing = torch.randn(features, features, generator=torch.Generator().manual_seed(7))
    centres = torch.randn(3, features, generator=torch.Generator().manual_seed(8))
    rows_ = torch.randn(rows, features, generator=random) @ mixing / 4 + centres[labels]
    return (rows_ - rows_.mean(0)) / rows_.std(0), labels


def statistics_of(x: torch.Tensor, y: torch.Tensor, size: int = 64) -> Statistics:
    return Statistics.from_batches(zip(torch.split(x, size), torch.split(y, size), strict=True), x.shape[1], 3)


def refit(
    x: torch.Tensor, y: torch.Tensor, shrinkage: float, scale: torch.Tensor, freedom: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Means (C, D) and shrunk covariance (D, D) by definition, in double precision.

    Args:
        shrinkage: towards the identity, `scale` times.
        freedom: divisor of the scatter within the classes.
    """
    means = torch.stack([x[y == label].double().mean(0) for label in range(3)])
    within = x.double() - means[y]
    return means, (1 - shrinkage) * within.T @ within / freedom + shrinkage * scale.double() * torch.eye(x.shape[1])
