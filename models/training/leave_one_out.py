"""Leave-one-out: what a linear classifier says of each image that is fitted to all others, in closed form.

Of one label an image: linear discriminant analysis (`lda`). Of several: ridge regression of the labels, 1 or 0, on the
features x, whose prediction for an image that is left out follows from that of a fit to all:
ŷ₋ᵢ = yᵢ - (yᵢ - ŷᵢ)/(1 - hᵢ), with the leverage hᵢ of the image (Allen, 1974).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from models.training.lda import Labelled, Statistics, fit_lda

if TYPE_CHECKING:
    import numpy as np

STRENGTHS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
"""Strengths of ridge regression that are tried: λ = strength · images."""


def predict_left_out(features: torch.Tensor, targets: np.ndarray, num_classes: int) -> np.ndarray:
    """Predict each image by a classifier of all others: logits (n, C), for standardized features (n, D).

    Shrinkage, temperature or strength have the least loss on the same images. An image that is alone in its class is
    taken for another: nothing can be known of its class without it.

    Args:
        features: of the images.
        targets: their labels, (n,), or multi-hot, (n, C).
        num_classes: number of classes, C.
    """
    labels = torch.from_numpy(targets)
    logits = _predict_by_ridge(features, labels) if labels.ndim == 2 else _predict_by_lda(features, labels, num_classes)
    array: np.ndarray = logits.numpy()
    return array


def _predict_by_lda(features: torch.Tensor, labels: torch.Tensor, num_classes: int) -> torch.Tensor:
    statistics = Statistics.from_batches([(features, labels)], features.shape[1], num_classes)
    logits = torch.zeros(len(labels), num_classes)
    logits[torch.arange(len(labels)), labels] = -math.log(len(labels) + 1)
    is_counted = statistics.counts[labels] > 1
    if is_counted.any():
        training, nothing = Labelled(features, labels), Labelled(features[:0], labels[:0])
        priors = statistics.counts / len(labels)
        logits[is_counted] = fit_lda(statistics, priors, training, nothing).left_out
    return logits


def _predict_by_ridge(features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Predict multi-hot targets, (n, C): what is above 1/2 is above 0 in the logits, which are ŷ - 1/2."""
    images, known = len(targets), targets.float()
    mean = known.mean(0)
    left, scales, _ = torch.linalg.svd(features - features.mean(0), full_matrices=False)
    best, least = mean.expand_as(known), math.inf
    for strength in STRENGTHS:
        shrink = scales.square() / (scales.square() + strength * images)
        fitted = mean + (left * shrink) @ (left.T @ (known - mean))
        leverage = (left.square() * shrink).sum(1, keepdim=True) + 1 / images
        errors = (known - fitted) / (1 - leverage).clamp_min(1e-6)
        loss = errors.square().mean().item()
        if loss < least:
            best, least = known - errors, loss
    return best - 0.5
