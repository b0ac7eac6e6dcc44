"""Eager PyTorch engine: runs on every device."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.features.engines.batch_size import limit_batch_size
from models.runtime.micro_batches import MicroBatches

if TYPE_CHECKING:
    from models.features.engines.normalize import Normalize


BATCH_SIZES = {"cpu": 16, "cuda": 128, "mps": 64}
"""Images in a full batch, by type of device."""


class Eager:
    """Eager execution of a frozen network in one precision."""

    def __init__(self, network: torch.nn.Module, normalize: Normalize, dtype: torch.dtype) -> None:
        """Take a float32 `network` and `normalize`, both on the device that computes."""
        self._normalize, self._dtype = normalize, dtype
        self.batch_size = limit_batch_size(BATCH_SIZES[normalize.mean.device.type], normalize.input_size)
        self.micro_batches = MicroBatches()
        self.setup_seconds = 0.2
        self._float32_network = network

    @cached_property
    def _network(self) -> torch.nn.Module:
        """The network in this engine's precision; unless that is float32, a copy, made on first use."""
        if self._dtype == torch.float32:
            return self._float32_network
        return copy.deepcopy(self._float32_network).to(self._dtype)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Compute features: (batch_size, 3, H, W) uint8 → (batch_size, …) float32."""
        return self.micro_batches.run(
            lambda count: np.concatenate([self._forward(part) for part in np.array_split(images, count)]), len(images)
        )

    @torch.inference_mode()
    def _forward(self, images: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(images).to(self._normalize.mean.device, non_blocking=True)
        features: np.ndarray = self._network(self._normalize(pixels).to(self._dtype)).float().cpu().numpy()
        return features
