"""The output layers of a network: linear layers whose outputs, each times a gain, add up to the logits.

Most networks end in one such layer. Distilled ones average two, on one vector or on two; CrossViT averages one for
each of its branches; EfficientViM weighs its own by learned shares; VOLO adds one that looks at every patch of the
image, and takes the maximum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

LinearModule = nn.Linear | nn.Conv2d
"""A convolution is linear on one vector if its kernel is a single point."""


@dataclass(frozen=True)
class OutputLayer:
    """A linear output layer: only fixed operations lie between it and the logits."""

    module: LinearModule
    features: slice | None
    """The features that it reads; None if it reads more than one vector of an image, and must output zeros."""
    gain: float
    """Gain: increase of the logits when the layer's output increases by one."""


@dataclass(frozen=True)
class Classifier:
    """All output layers of a network."""

    layers: list[OutputLayer]

    @classmethod
    def from_layers(
        cls, network: nn.Module, layer_inputs: Mapping[LinearModule, slice | None], image: torch.Tensor
    ) -> Classifier:
        """Measure each layer's gain: the network's logits for an image when this layer outputs 1 and the others 0.

        The layers lose their weights. `layer_inputs` are the features that each reads.
        """
        for module in layer_inputs:
            _set_weights(module, torch.zeros(1, in_features(module)), torch.zeros(1))
        layers = []
        for module, features in layer_inputs.items():
            _set_weights(module, torch.zeros(1, in_features(module)), torch.ones(1))
            layers.append(OutputLayer(module, features, gain=network(image).flatten()[0].item()))
            _set_weights(module, torch.zeros(1, in_features(module)), torch.zeros(1))
        return cls(layers)

    def set_weights(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Make the network's logits W·features + b, with W (C, num_features) and b (C,).

        Layers that read the same features get the same weights, so that each alone gives these logits.
        """
        reading = [layer for layer in self.layers if layer.features is not None]
        for layer in self.layers:
            if layer.features is None:
                zeros = weight.new_zeros(len(bias), in_features(layer.module))
                _set_weights(layer.module, zeros, torch.zeros_like(bias))
                continue
            gain = sum(other.gain for other in reading if other.features == layer.features)
            _set_weights(layer.module, weight[:, layer.features] / gain, bias / sum(other.gain for other in reading))


def can_be_output(module: Any) -> TypeGuard[LinearModule]:
    """Tell whether a module is linear on one vector and has a bias."""
    is_pointwise = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
    return (isinstance(module, nn.Linear) or is_pointwise) and module.bias is not None


def in_features(module: LinearModule) -> int:
    """Count the numbers that a linear module reads."""
    return module.weight.shape[1]


def _set_weights(module: LinearModule, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Give the module new parameters; the old ones, which other modules may share, keep their values."""
    shape = (*weight.shape, *module.weight.shape[2:])
    module.weight, module.bias = (
        nn.Parameter(values.to(module.weight), requires_grad=False) for values in (weight.reshape(shape), bias)
    )
    if isinstance(module, nn.Linear):
        module.out_features = len(bias)
    else:
        module.out_channels = len(bias)
