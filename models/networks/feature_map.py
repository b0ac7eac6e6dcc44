"""The last feature map of a network: (B, C, h, w), whether its layers give maps or tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from models.networks.candidate_cuts import count_costs
from models.networks.tracing import SurgeryError
from models.networks.types import HeadedNetwork

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.networks.feature_network import FeatureNetwork

MOST_PREFIX_TOKENS = 16
"""Most tokens before those of the patches: the class token, and registers."""


class FeatureMapUnsupported(SurgeryError):
    """No value of the network is a feature map."""

    code = "feature_map_unsupported"


@dataclass(frozen=True)
class Layout:
    """Layout of a feature map: where its positions lie in a value of the network."""

    kind: Literal["channels_first", "channels_last", "tokens"]
    channels: int
    height: int
    width: int
    prefix: int = 0
    """Tokens that come before those of the positions."""

    def arrange(self, value: torch.Tensor) -> torch.Tensor:
        """Arrange a value of the network as a feature map (B, C, h, w)."""
        if self.kind == "channels_first":
            return value
        if self.kind == "tokens":
            value = torch.unflatten(value[:, self.prefix :], 1, (self.height, self.width))
        return value.permute(0, 3, 1, 2)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.channels, self.height, self.width


class MapNetwork(nn.Module):
    """A network up to its last feature map: images (B, 3, H, W) → (B, C, h, w)."""

    def __init__(self, below: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.below, self.layout = below, layout

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the feature map."""
        return self.layout.arrange(self.below(images))


class _ForwardFeatures(nn.Module):
    """forward_features of a network that has no graph."""

    network: HeadedNetwork

    def __init__(self, network: HeadedNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network.forward_features(images)


@torch.no_grad()
def find_feature_map(feature_network: FeatureNetwork) -> MapNetwork:
    """Cut a network at its topmost feature map of more than one position; it shares the network's weights.

    Raises FeatureMapUnsupported.
    """
    image, tail = feature_network.sample_images[:1], feature_network.tail
    size = feature_network.input_size[1:]
    if tail.traced is None:
        if isinstance(feature_network.network, HeadedNetwork):
            value = feature_network.network.forward_features(image)
            layout = read_layout(value.shape[1:], size)
            if layout is not None:
                return MapNetwork(_ForwardFeatures(feature_network.network), layout)
    else:
        shapes = count_costs(tail.traced, image).shapes
        for name, node in reversed(list(tail.cuts.items())):
            layout = read_layout(shapes[node][1:], size) if node in shapes else None
            if layout is not None:
                return MapNetwork(tail.build_parts(name)[0], layout)
    raise FeatureMapUnsupported(
        "No layer of this backbone gives a feature map from which pixels could be predicted: choose the method "
        "contrastive or supervised, or another backbone."
    )


def read_layout(shape: Sequence[int], size: Sequence[int]) -> Layout | None:
    """Read the layout of a value for one image of size (H, W); None if it is no map of more than one position."""
    if len(shape) == 3:
        first, second, third = shape
        if second * third > 1 and _is_reduced(size, (second, third)):
            return Layout("channels_first", first, second, third)
        if first * second > 1 and _is_reduced(size, (first, second)):
            return Layout("channels_last", third, first, second)
    if len(shape) == 2:
        tokens, channels = shape
        for prefix in range(min(MOST_PREFIX_TOKENS, tokens - 1)):
            grid = _find_grid(tokens - prefix, size)
            if grid is not None:
                return Layout("tokens", channels, *grid, prefix)
    return None


def _is_reduced(size: Sequence[int], grid: Sequence[int]) -> bool:
    """Tell whether a grid has the image's aspect ratio, up to rounding."""
    (height, width), (rows, columns) = size, grid
    reduction = height / rows
    return rows <= height and columns <= width and abs(columns - width / reduction) < 1


def _find_grid(positions: int, size: Sequence[int]) -> tuple[int, int] | None:
    """Find the grid of this many positions that has the image's aspect ratio."""
    height, width = size
    rows = round(math.sqrt(positions * height / width))
    if positions > 1 and rows and positions % rows == 0 and _is_reduced(size, (rows, positions // rows)):
        return rows, positions // rows
    return None
