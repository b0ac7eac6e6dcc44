"""The last feature map of networks of every kind of layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from models.networks.feature_map import FeatureMapUnsupported, Layout, find_feature_map, read_layout
from models.networks.feature_network import cut_before_classifier
from tests.support.networks import given, network


@pytest.mark.parametrize(
    ("name", "arguments", "side", "layout"),
    [
        ("test_resnet", {}, 64, Layout("channels_first", 96, 2, 2)),
        ("test_vit", {}, 160, Layout("tokens", 64, 10, 10, 1)),
        (
            "swin_tiny_patch4_window7_224",
            {"img_size": 64, "window_size": 2, "depths": (1, 1, 1, 1), "embed_dim": 24},
            64,
            Layout("channels_last", 192, 2, 2),
        ),
    ],
)
def test_it_has_the_positions_of_the_image_in_order(
    name: str, arguments: dict[str, Any], side: int, layout: Layout
) -> None:
    found = find_feature_map(cut_before_classifier(network(name, **arguments), (3, side, side), {}))
    assert found.layout == layout
    images = given((3, side, side), 1)
    changed = images.clone()
    changed[:, :, : side // 8, -side // 8 :] += 5.0  # above right
    difference = (found(changed) - found(images)).abs().mean((0, 1))
    assert difference.shape == (layout.height, layout.width)
    if layout.kind != "channels_last":  # whose windows are shifted and mixed
        assert difference.argmax() == layout.width - 1


def test_it_shares_the_weights_of_the_network() -> None:
    feature_network = cut_before_classifier(network("test_resnet"), (3, 64, 64), {})
    found = find_feature_map(feature_network)
    own = {id(parameter) for parameter in feature_network.network.parameters()}
    assert {id(parameter) for parameter in found.parameters()} <= own


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((8, 3, 6), (48, 96), Layout("channels_first", 8, 3, 6)),
        ((3, 6, 8), (48, 96), Layout("channels_last", 8, 3, 6)),
        ((7, 7, 7), (224, 224), Layout("channels_first", 7, 7, 7)),
        ((197, 192), (224, 224), Layout("tokens", 192, 14, 14, 1)),
        ((201, 192), (224, 224), Layout("tokens", 192, 14, 14, 5)),
        ((18, 4), (48, 96), Layout("tokens", 4, 3, 6, 0)),
        ((8, 1, 1), (64, 64), None),
        ((128,), (64, 64), None),
        ((1, 128), (64, 64), None),
    ],
)
def test_layouts_are_read_from_shapes(shape: tuple[int, ...], size: tuple[int, int], expected: Layout | None) -> None:
    assert read_layout(shape, size) == expected


class Averages(nn.Module):
    """A network whose first operation leaves no positions."""

    num_classes = 2

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(images.mean((2, 3)))  # type: ignore[no-any-return]

    def get_classifier(self) -> nn.Module:
        return self.fc

    def reset_classifier(self, num_classes: int) -> None:
        self.fc = nn.Linear(3, num_classes)


def test_a_network_without_maps_is_refused() -> None:
    with pytest.raises(FeatureMapUnsupported, match="contrastive or supervised"):
        find_feature_map(cut_before_classifier(Averages(), (3, 32, 32), {}))
