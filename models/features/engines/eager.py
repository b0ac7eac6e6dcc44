"""Eager PyTorch: works everywhere."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.runtime.micro_batches import MicroBatches

if TYPE_CHECKING:
    from models.features.engines.normalize import Pixels


BATCH = {"cpu": 16, "cuda": 128, "mps": 64}
"""Images that are computed at once, by type of device."""


class Eager:
    """A frozen network, computed operation by operation in one precision."""

    def __init__(self, network: torch.nn.Module, pixels: Pixels, dtype: torch.dtype) -> None:
        """`network` and `pixels` lie on the device that computes."""
        self._pixels, self._dtype = pixels, dtype
        self.batch = BATCH[pixels.mean.device.type]
        self.parts = MicroBatches()
        self.set_up_seconds = 0.2
        self._given = network

    @cached_property
    def _network(self) -> torch.nn.Module:
        """In the precision: another copy, made when it is first used, where it is not the network's own."""
        return self._given if self._dtype == torch.float32 else copy.deepcopy(self._given).to(self._dtype)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(batch, 3, H, W) uint8 → (batch, …) float32."""
        return self.parts.run(
            lambda count: np.concatenate([self._said(part) for part in np.array_split(images, count)]), len(images)
        )

    @torch.inference_mode()
    def _said(self, images: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(images).to(self._pixels.mean.device, non_blocking=True)
        said: np.ndarray = self._network(self._pixels(given).to(self._dtype)).float().cpu().numpy()
        return said
