"""A network that takes BGR becomes one that takes RGB."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
from torch import nn

from models.importers.channel_order import take_rgb
from models.importers.errors import ImportRejected
from tests.support.imported_networks import make_graph, make_images, make_network


class Halved(nn.Module):
    """A network whose first operation is no convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.network = make_network()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.network(images * 0.5)
        return output


@pytest.mark.parametrize(
    ("make", "how"), [(make_network, "first convolution"), (lambda: Halved().eval(), "before the network")]
)
def test_graphs_take_rgb(make: Any, how: str) -> None:
    network, images = make(), torch.from_numpy(make_images(3)["rendered"])
    graph = make_graph(copy.deepcopy(network))
    with torch.no_grad():
        expected = network(images.flip(1))
        assert how in take_rgb(graph, images)
        torch.testing.assert_close(graph(images), expected)
        assert not torch.allclose(network(images), expected)


def test_networks_of_timm_take_rgb() -> None:
    network = timm.create_model("mobilenetv3_small_050", num_classes=3).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(images.flip(1))
        take_rgb(network, images)
        torch.testing.assert_close(network(images), expected)


class Gray(nn.Module):
    """A network that reads red alone."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, 4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.convolution(images[:, :1]).mean((2, 3))
        return output


def test_other_networks_are_refused() -> None:
    with pytest.raises(ImportRejected) as caught:
        take_rgb(Gray(), torch.randn(2, 3, 8, 8))
    assert caught.value.code == "channel_order_unsupported"
