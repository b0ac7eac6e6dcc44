"""Small networks of timm with random weights, and what tests do with them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import timm
import torch
from timm.models import byobnet
from torch import nn


def network(name: str, **arguments: object) -> Any:
    """Create a network whose BatchNorm is no identity."""
    torch.manual_seed(0)
    made = timm.create_model(name, **arguments).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    return made


def images(of: Any, count: int = 2) -> torch.Tensor:
    """Make random images of the network's own size."""
    return given(of.pretrained_cfg["input_size"], count)


def given(input_size: tuple[int, int, int], count: int = 2) -> torch.Tensor:
    """Make random images."""
    return torch.randn(count, *input_size, generator=torch.Generator().manual_seed(1))


def small_clip() -> Any:
    """Create CLIP's ResNet, whose attention pools after the linear layer, with few and narrow blocks."""
    torch.manual_seed(0)
    whole = byobnet.model_cfgs["resnet50_clip"]
    blocks = tuple(replace(block, d=1, c=block.c // 8) for block in whole.blocks)
    return byobnet.ByobNet(replace(whole, blocks=blocks, stem_chs=(8, 8, 16)), num_classes=5, img_size=64).eval()


def randomize_norms(whole: Any) -> Any:
    """Randomize BatchNorm's weights, so that no residual branch is multiplied by zero, as before all training."""
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return whole


def norm_names(whole: nn.Module) -> set[str]:
    """Name all parameters and buffers of BatchNorm."""
    norms = {path: module for path, module in whole.named_modules() if isinstance(module, nn.BatchNorm2d)}
    return {f"{path}.{name}" for path, module in norms.items() for name in module.state_dict()}


def copy_state(of: nn.Module) -> dict[str, torch.Tensor]:
    """Copy all parameters and buffers."""
    return {name: value.detach().clone() for name, value in of.state_dict().items()}


def changed_names(whole: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    """Name the parameters and buffers that differ from a copy."""
    return {name for name, value in whole.state_dict().items() if not torch.equal(value, before[name])}


def rebuild(network: Any, replaced: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Rebuild a network by the guide's lines: timm.create_model's, a checkpoint's `replaced` and its tensors."""
    for path, layers in json.loads(replaced).items():
        network.set_submodule(path, nn.Sequential(*(getattr(nn, kind)(**arguments) for kind, arguments in layers)))
    network.load_state_dict(tensors)
    return network.eval()


class Wayward(nn.Module):
    """A network with timm's calls whose operations depend on its input."""

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
