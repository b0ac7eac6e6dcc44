"""The trunk at work: a frozen network that gives the features of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from models.features.engines.eager import Eager
from models.features.engines.normalize import Pixels

if TYPE_CHECKING:
    from models.images.preprocessing import Preprocessing
    from models.runtime.micro_batches import MicroBatches


class FeaturesNotFinite(Exception):
    """The trunk gives NaN or infinity: its weights are broken, or do not fit their architecture."""

    code = "features_not_finite"


class Engine(Protocol):
    """Computes a frozen network."""

    batch: int
    """Images that it takes at once."""

    @property
    def set_up_seconds(self) -> float:
        """What its first use takes longer, about."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(batch, 3, H, W) uint8 → (batch, …) float32."""


class Trunk:
    """A frozen network on its device, fed with at most `batch` images of bytes: (B, 3, H, W) uint8 → (B, …) float32.

    What it says of an image depends on no other: the engine always gets a whole batch, filled up where there are
    fewer, because kernels are chosen by size, and another kernel rounds differently.
    """

    def __init__(self, network: torch.nn.Module, preprocessing: Preprocessing, device: torch.device) -> None:
        """It computes eagerly, in float32, until it is given another engine."""
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.pixels = Pixels(preprocessing).to(device)
        self.device = device
        self.engine: Engine = Eager(self.network, self.pixels, torch.float32)

    @property
    def batch(self) -> int:
        """Images at once."""
        return self.engine.batch

    @property
    def parts(self) -> MicroBatches | None:
        """In how many parts a batch is computed, where that depends on the memory."""
        return self.engine.parts if isinstance(self.engine, Eager) else None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features of images; raises FeaturesNotFinite."""
        whole = images if len(images) == self.batch else images[np.arange(self.batch) % len(images)]
        features = self.engine(whole)[: len(images)]
        if not np.isfinite(features).all():
            raise FeaturesNotFinite(
                "The backbone gives NaN or infinite values for images of this dataset. "
                "Its weights are broken; choose another backbone."
            )
        return features

    def normalized(self, images: np.ndarray) -> torch.Tensor:
        """The network's input: float32 on its device."""
        given: torch.Tensor = self.pixels(torch.from_numpy(images).to(self.device, non_blocking=True))
        return given
