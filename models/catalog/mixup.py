"""Augmentations of whole batches: of images where nothing is cached, of features where they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.catalog.technique import Positive, Technique

if TYPE_CHECKING:
    import torch

# Single precision draws nothing sensible from much smaller ones.
Alpha = Annotated[float, Field(ge=0.01, le=100.0)]


@dataclass(frozen=True)
class Mixed:
    """A batch, each row mixed with another: the loss is share·loss(labels) + (1 - share)·loss(labels[partners])."""

    rows: torch.Tensor
    partners: torch.Tensor
    """(B,), places in the batch."""
    share: float


class BatchAugmentation(Technique):
    """An augmentation with one verb, `mix`."""

    needs_images: ClassVar[bool]
    """Whether it makes sense of images alone, not of features."""

    def mix(self, rows: torch.Tensor) -> Mixed:
        """Mix `rows` (B, …)."""
        raise NotImplementedError


class FeatureAugmentation(Technique):
    """An augmentation with one verb, `disturb`."""

    def disturb(self, features: torch.Tensor) -> torch.Tensor:
        """Standardized `features` (B, D), changed."""
        raise NotImplementedError


class Mixup(BatchAugmentation):
    """x ← λ·x + (1 - λ)·x[partner], λ ~ Beta(alpha, alpha) (Zhang et al., 2018).

    Mixes images where nothing is cached, features where they are (manifold mixup; Verma et al., 2019).
    """

    needs_images: ClassVar[bool] = False
    kind: Literal["mixup"] = "mixup"
    alpha: Alpha = 0.2
    """Small: one of the two nearly alone; 1: any share is equally likely."""

    def mix(self, rows: torch.Tensor) -> Mixed:
        """Mix `rows` (B, …)."""
        import torch

        share = float(torch.distributions.Beta(self.alpha, self.alpha).sample())
        partners = torch.randperm(len(rows))
        return Mixed(share * rows + (1 - share) * rows[partners.to(rows.device)], partners, share)


class CutMix(BatchAugmentation):
    """A rectangle of 1 - λ of the image shows another image, λ ~ Beta(alpha, alpha) (Yun et al., 2019)."""

    needs_images: ClassVar[bool] = True
    kind: Literal["cutmix"] = "cutmix"
    alpha: Alpha = 1.0
    """Small: one of the two nearly alone; 1: any share is equally likely."""

    def mix(self, rows: torch.Tensor) -> Mixed:
        """Mix images (B, 3, H, W)."""
        import torch

        cut = math.sqrt(1 - float(torch.distributions.Beta(self.alpha, self.alpha).sample()))
        height, width = rows.shape[-2:]
        middle = torch.rand(2).tolist()
        top, bottom = _ends(middle[0] * height, cut * height, height)
        left, right = _ends(middle[1] * width, cut * width, width)
        partners = torch.randperm(len(rows))
        mixed = rows.clone()
        mixed[..., top:bottom, left:right] = rows[partners.to(rows.device), ..., top:bottom, left:right]
        # The share that is left after the rectangle was clipped at the borders, and rounded to pixels.
        return Mixed(mixed, partners, 1 - (bottom - top) * (right - left) / (height * width))


class FeatureNoise(FeatureAugmentation):
    """x ← x + std·ε, ε ~ N(0, 1), on standardized features (Bishop, 1995)."""

    kind: Literal["feature_noise"] = "feature_noise"
    std: Positive = 0.1
    """Of the noise; the features' own is 1."""

    def disturb(self, features: torch.Tensor) -> torch.Tensor:
        """`features` with noise."""
        import torch

        return features + self.std * torch.randn_like(features)


def _ends(middle: float, length: float, size: int) -> tuple[int, int]:
    return max(0, round(middle - length / 2)), min(size, round(middle + length / 2))
