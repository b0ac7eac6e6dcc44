"""The input of a network: bytes of pixels become what it was pretrained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from models.images.preprocessing import Preprocessing


class Pixels(nn.Module):
    """(B, 3, H, W) uint8 → float32, (pixel/255 - mean)/std."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(preprocessing.std).view(1, -1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """In the order of timm's own transform (ToTensor, Normalize), so that view 0 agrees to the bit."""
        normalized: torch.Tensor = images.float().div(255).sub(self.mean).div(self.std)
        return normalized.contiguous(memory_format=torch.channels_last)
