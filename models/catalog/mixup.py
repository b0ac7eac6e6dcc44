"""Augmentations of batches and features: mixup, CutMix, feature noise."""

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
    """A mixed batch; its loss is share·loss(labels) + (1 - share)·loss(labels[partners])."""

    rows: torch.Tensor
    partners: torch.Tensor
    """(B,), the index of the row that each row is mixed with."""
    share: float


class BatchAugmentation(Technique):
    """Base of augmentations that mix the rows of a batch."""

    needs_images: ClassVar[bool]
    """True if it can mix images only, not features."""

    def mix(self, rows: torch.Tensor) -> Mixed:
        """Mix each of `rows` (B, …) with another one."""
        raise NotImplementedError


class FeatureAugmentation(Technique):
    """Base of augmentations that change features at random."""

    def perturb(self, features: torch.Tensor) -> torch.Tensor:
        """Change standardized `features` (B, D) at random."""
        raise NotImplementedError


class Mixup(BatchAugmentation):
    """Mixup: x ← λ·x + (1 - λ)·x[partner], labels alike, λ ~ Beta(alpha, alpha) (Zhang et al., 2018).

    Mixes cached features (manifold mixup; Verma et al., 2019), or images where no features are cached.
    """

    needs_images: ClassVar[bool] = False
    kind: Literal["mixup"] = "mixup"
    alpha: Alpha = 0.2
    """Parameter of the Beta distribution: near 0, one of both images dominates; at 1, all shares are equally likely."""

    def mix(self, rows: torch.Tensor) -> Mixed:
        """Mix each of `rows` (B, …) with another one."""
        import torch

        share = float(torch.distributions.Beta(self.alpha, self.alpha).sample())
        partners = torch.randperm(len(rows))
        return Mixed(share * rows + (1 - share) * rows[partners.to(rows.device)], partners, share)


class CutMix(BatchAugmentation):
    """CutMix: a rectangle with 1 - λ of the area shows another image, λ ~ Beta(alpha, alpha) (Yun et al., 2019).

    Needs images, so it turns the feature cache off.
    """

    needs_images: ClassVar[bool] = True
    kind: Literal["cutmix"] = "cutmix"
    alpha: Alpha = 1.0
    """Parameter of the Beta distribution: near 0, one of both images dominates; at 1, all shares are equally likely."""

    def mix(self, rows: torch.Tensor) -> Mixed:
        """Paste a rectangle of another image into each of the images (B, 3, H, W)."""
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
    """Gaussian noise on standardized features: x ← x + std·ε, ε ~ N(0, 1) (Bishop, 1995)."""

    kind: Literal["feature_noise"] = "feature_noise"
    std: Positive = 0.1
    """Standard deviation of the noise; that of the standardized features is 1."""

    def perturb(self, features: torch.Tensor) -> torch.Tensor:
        """Add Gaussian noise to `features`."""
        import torch

        return features + self.std * torch.randn_like(features)


def _ends(middle: float, length: float, size: int) -> tuple[int, int]:
    return max(0, round(middle - length / 2)), min(size, round(middle + length / 2))
