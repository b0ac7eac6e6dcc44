"""Input normalization: uint8 pixels to the mean and standard deviation that a network was pretrained with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from models.images.preprocessing import Preprocessing


class Normalize(nn.Module):
    """Normalize pixels by (pixel/255 - mean)/std: (B, 3, H, W) uint8 → float32."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.input_size = preprocessing.input_size
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, -1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalize in the order of timm's transform (ToTensor, Normalize): view 0 agrees with it to the bit."""
        # In place, in the layout that it ends in: a batch of large images would else be there four times.
        pixels = images.contiguous(memory_format=torch.channels_last).float()
        return pixels.div_(255).sub_(self.mean).div_(self.std)
