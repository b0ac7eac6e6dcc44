"""Trunk: the frozen part of a network, which computes the features of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from models.features.engines.eager import Eager
from models.features.engines.normalize import Normalize

if TYPE_CHECKING:
    from models.images.preprocessing import Preprocessing
    from models.runtime.micro_batches import MicroBatches


class FeaturesNotFinite(Exception):
    """The trunk gives NaN or infinity: its weights are broken, or do not fit their architecture."""

    code = "features_not_finite"


class Engine(Protocol):
    """Inference engine: computes a frozen network."""

    batch_size: int
    """Images in every batch."""

    @property
    def setup_seconds(self) -> float:
        """Typical extra time of the first batch."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Compute features: (batch_size, 3, H, W) uint8 → (batch_size, …) float32."""


class Trunk:
    """Frozen network on a device: (B, 3, H, W) uint8 → (B, …) float32, with B ≤ `batch_size`.

    An image's features depend on no other image: the engine always gets a full batch, padded where there are fewer
    images, because kernels are chosen by size, and another kernel rounds differently.
    """

    def __init__(self, network: torch.nn.Module, preprocessing: Preprocessing, device: torch.device) -> None:
        """Move the network to the device; the engine is eager float32 until another is set."""
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.normalize = Normalize(preprocessing).to(device)
        self.device = device
        self.engine: Engine = Eager(self.network, self.normalize, torch.float32)

    @property
    def batch_size(self) -> int:
        """Most images in a batch."""
        return self.engine.batch_size

    @property
    def micro_batches(self) -> MicroBatches | None:
        """Micro-batches of an eager engine: more where a batch did not fit the memory; None for other engines."""
        return self.engine.micro_batches if isinstance(self.engine, Eager) else None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Compute the features of images; raises FeaturesNotFinite."""
        full = images if len(images) == self.batch_size else images[np.arange(self.batch_size) % len(images)]
        features = self.engine(full)[: len(images)]
        if not np.isfinite(features).all():
            raise FeaturesNotFinite(
                "The backbone gives NaN or infinite values for images of this dataset. "
                "Its weights are broken; choose another backbone."
            )
        return features

    def to_input(self, images: np.ndarray) -> torch.Tensor:
        """Normalize images to the network's input: float32 on its device."""
        inputs: torch.Tensor = self.normalize(torch.from_numpy(images).to(self.device, non_blocking=True))
        return inputs
