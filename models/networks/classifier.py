"""The end of a network: the linear layers whose outputs, each times its share, add up to the logits.

Most networks end in one such layer. Distilled ones average two, on one vector or on two; CrossViT averages one for
each of its branches; EfficientViM weighs its own by learned shares; VOLO adds one that looks at every place of the
image, and takes the maximum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

Linear = nn.Linear | nn.Conv2d
"""A convolution is linear on one vector if its kernel is a point."""


@dataclass(frozen=True)
class LastLayer:
    """A linear layer from whose output only fixed operations lead to the logits."""

    module: Linear
    features: slice | None
    """Which features it is given; None if it is given more than one vector an image, and must stay silent."""
    share: float
    """By how much the logits rise when its output rises by one."""


@dataclass(frozen=True)
class Classifier:
    """All last layers of a network."""

    layers: list[LastLayer]

    @classmethod
    def measured(cls, network: nn.Module, given: Mapping[Linear, slice | None], image: torch.Tensor) -> Classifier:
        """Measure the shares: what the network says to an image when one layer says 1 and the others 0.

        The layers, with the features that each is `given`, lose their weights.
        """
        for module in given:
            _become(module, torch.zeros(1, width(module)), torch.zeros(1))
        layers = []
        for module, features in given.items():
            _become(module, torch.zeros(1, width(module)), torch.ones(1))
            layers.append(LastLayer(module, features, share=network(image).flatten()[0].item()))
            _become(module, torch.zeros(1, width(module)), torch.zeros(1))
        return cls(layers)

    def become(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Have the network give W·features + b, with W (C, num_features) and b (C,).

        Layers that are given the same features get the same weights: each alone then says the same.
        """
        heard = [layer for layer in self.layers if layer.features is not None]
        for layer in self.layers:
            if layer.features is None:
                _become(layer.module, weight.new_zeros(len(bias), width(layer.module)), torch.zeros_like(bias))
                continue
            alike = sum(other.share for other in heard if other.features == layer.features)
            _become(layer.module, weight[:, layer.features] / alike, bias / sum(other.share for other in heard))


def can_be_last(module: Any) -> TypeGuard[Linear]:
    """Whether it is linear on one vector, and has a bias."""
    point = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
    return (isinstance(module, nn.Linear) or point) and module.bias is not None


def width(module: Linear) -> int:
    """The numbers that it is given."""
    return module.weight.shape[1]


def _become(module: Linear, weight: torch.Tensor, bias: torch.Tensor) -> None:
    shape = (*weight.shape, *module.weight.shape[2:])
    module.weight, module.bias = (
        nn.Parameter(values.to(module.weight), requires_grad=False) for values in (weight.reshape(shape), bias)
    )
    if isinstance(module, nn.Linear):
        module.out_features = len(bias)
    else:
        module.out_channels = len(bias)
