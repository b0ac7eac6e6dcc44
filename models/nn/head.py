"""Heads: the new layers between a backbone's features and the logits."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch


class HiddenLayer(nn.Module):
    """A hidden layer, (B, inputs) → (B, width): linear; activation and normalization, in either order; dropout."""

    def __init__(
        self,
        linear: nn.Linear,
        activation: nn.Module,
        dropout: nn.Dropout,
        *,
        normalization: nn.Module | None = None,
        normalizes_first: bool = True,
    ) -> None:
        super().__init__()
        between = [("activation", activation)]
        if normalization is not None:
            between.insert(0 if normalizes_first else 1, ("normalization", normalization))
        self.linear, self.between, self.dropout = linear, nn.Sequential(OrderedDict(between)), dropout

    @property
    def activation(self) -> nn.Module:
        """Activation function of the layer."""
        return self.between.get_submodule("activation")

    @property
    def layers(self) -> list[nn.Module]:
        """All layers in their order."""
        return [self.linear, *self.between, self.dropout]

    def activate(self, rows: torch.Tensor) -> torch.Tensor:
        """Compute the layer's activations before dropout, (B, inputs) → (B, width)."""
        units: torch.Tensor = self.between(self.linear(rows))
        return units

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, inputs) → (B, width)."""
        units: torch.Tensor = self.dropout(self.activate(rows))
        return units


class HeadModule(nn.Module):
    """logits = output(hidden(dropout(x))) on standardized features x: (B, num_features) → (B, num_classes)."""

    def __init__(self, dropout: nn.Dropout, output: nn.Linear, hidden: Iterable[nn.Module] = ()) -> None:
        """`hidden`: HiddenLayers from below, or a norm alone."""
        super().__init__()
        self.dropout, self.hidden, self.output = dropout, nn.Sequential(*hidden), output

    @property
    def hidden_layers(self) -> list[HiddenLayer]:
        """The hidden layers from below."""
        return [layer for layer in self.hidden if isinstance(layer, HiddenLayer)]

    @property
    def layers(self) -> list[nn.Module]:
        """All layers in their order, those of hidden layers one by one."""
        hidden = [layer.layers if isinstance(layer, HiddenLayer) else [layer] for layer in self.hidden]
        return [self.dropout, *(layer for layers in hidden for layer in layers), self.output]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, num_features) → (B, num_classes)."""
        logits: torch.Tensor = self.output(self.hidden(self.dropout(features)))
        return logits
