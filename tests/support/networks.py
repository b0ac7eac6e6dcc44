"""Small networks of timm with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import timm
import torch
from torch import nn

if TYPE_CHECKING:
    from models.networks.types import TimmNetwork


def network(name: str, **arguments: object) -> TimmNetwork:
    """One whose BatchNorm is no identity."""
    torch.manual_seed(0)
    made = timm.create_model(name, **arguments).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    return made


def images(of: TimmNetwork, count: int = 2) -> torch.Tensor:
    """Random input of the network's own size."""
    return given(of.pretrained_cfg["input_size"], count)


def given(input_size: tuple[int, int, int], count: int = 2) -> torch.Tensor:
    """Random input."""
    return torch.randn(count, *input_size, generator=torch.Generator().manual_seed(1))


class Wayward(nn.Module):
    """A network in timm's form whose way depends on its input."""

    num_classes = 7

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 4, stride=4)
        self.stem.head = nn.Conv2d(6, 6, 1)
        self.head = nn.Linear(6, 7)

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int) -> None:
        self.head = nn.Linear(6, num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem.head(self.stem(x))
        return x.relu() if self.is_bright(x) else x.tanh()

    def is_bright(self, x: torch.Tensor) -> bool:
        return bool(x.sum() > 0)

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        x = x.mean((2, 3))
        return x if pre_logits else self.head(x)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))
