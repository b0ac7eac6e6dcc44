"""Plain traces: sizes decide branches, the number of images stays open, and layers are those of plain torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from models.networks.graph_network import GraphNetwork
from models.networks.tracing import Untraceable, trace
from tests.support.networks import given, network


class Branching(nn.Module):
    """Asks for sizes, for the type and for the device of its images."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Halve images of an even side, and add up the channels."""
        count, _, height, width = images.shape
        if height % 2 == 0 and len(images.shape) == images.ndim == images.dim() and images.size(-1) == width:
            images = images[..., ::2, ::2]
        ones = torch.ones(1, 3, 1, 1, dtype=images.dtype, device=images.device)
        first, *others = (images * ones).unbind(1)
        return sum(others, first).reshape(count, height // 2 * (width // 2))


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 5])
def test_sizes_decide_branches_and_the_number_of_images_is_open(count: int) -> None:
    traced = trace(Branching(), (3, 8, 8))
    graph = GraphNetwork.from_graph(traced.network, traced.graph, {})
    images = given((3, 8, 8), count)
    assert torch.equal(graph(images), Branching()(images))


class Counting(nn.Module):
    """Asks for the number of its images."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Double several images."""
        return images * 2 if len(images) > 1 else images


def test_a_branch_on_the_number_of_images_cannot_be_traced() -> None:
    with pytest.raises(Untraceable, match="the number of images is open"):
        trace(Counting(), (3, 8, 8))


NETWORKS: list[tuple[str, dict[str, Any], int]] = [
    ("tf_efficientnet_b0", {}, 64),
    ("vgg11", {}, 64),
    ("test_vit", {}, 160),
    ("mobilevit_xxs", {}, 64),
    ("tiny_vit_5m_224", {}, 224),
    ("efficientvit_b0", {}, 64),
]
"""Networks whose layers ask for sizes, or are timm's own."""


@torch.no_grad()
@pytest.mark.parametrize(("name", "arguments", "side"), NETWORKS)
def test_layers_that_ask_for_sizes_become_plain_torch(name: str, arguments: dict[str, Any], side: int) -> None:
    whole, size = network(name, **arguments), (3, side, side)
    traced = trace(whole, size).fold_sizes(given(size))
    graph = GraphNetwork.from_graph(traced.network, traced.graph, {})
    images = given(size, 3)
    assert torch.equal(graph(images), whole(images))
