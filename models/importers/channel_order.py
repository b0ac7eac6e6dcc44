"""Bake the order of channels into a network that takes BGR, so that everything after it sees RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from models.importers.errors import ImportRejected
from models.networks.graph_network import GraphNetwork
from models.networks.types import as_module

if TYPE_CHECKING:
    from models.networks.types import TimmNetwork

CHANNELS = 3
TOLERANCE = 1e-3
"""Greatest difference to the network on flipped images, as a share of the outputs' size: rounding alone."""


@torch.no_grad()
def take_rgb(network: TimmNetwork, images: torch.Tensor) -> str:
    """Change a network that takes BGR into one that takes RGB; returns how, for the report.

    `images` (B, 3, H, W) are to check it with. Raises ImportRejected where the network cannot be changed.
    """
    expected = network(images.flip(1))
    module = as_module(network)
    convolution = _find_first(module)
    if convolution is not None:
        convolution.weight = nn.Parameter(convolution.weight.flip(1).contiguous(), requires_grad=False)
        how = "The input channels of the first convolution were reversed"
    elif isinstance(module, GraphNetwork):
        _insert_flip(module)
        how = "A reversal of the channels was put before the network"
    else:
        raise _refuse()
    found = network(images)
    if float((found - expected).abs().max()) > TOLERANCE * float(expected.abs().max()):
        raise _refuse()
    return f"{how}: the file's network takes BGR, the backbone takes RGB."


def _find_first(module: nn.Module) -> nn.Conv2d | None:
    """Find the one convolution that reads the image."""
    if not isinstance(module, GraphNetwork):
        convolutions = (one for one in module.modules() if isinstance(one, nn.Conv2d))
        first = next(convolutions, None)
        return first if first is not None and first.in_channels == CHANNELS else None
    image = next(node for node in module.graph.nodes if node.op == "placeholder")
    users = list(image.users)
    if len(users) != 1 or users[0].op != "call_module":
        return None
    convolution = module.get_submodule(str(users[0].target))
    calls = [node for node in module.graph.nodes if node.target == users[0].target]
    is_plain = isinstance(convolution, nn.Conv2d) and convolution.groups == 1 and len(calls) == 1
    return convolution if isinstance(convolution, nn.Conv2d) and is_plain else None


def _insert_flip(network: GraphNetwork) -> None:
    image = next(node for node in network.graph.nodes if node.op == "placeholder")
    with network.graph.inserting_after(image):
        flipped = network.graph.call_function(torch.flip, (image, [1]))
    image.replace_all_uses_with(flipped, delete_user_cb=lambda user: user is not flipped)
    network.paths[flipped.name] = "channels"


def _refuse() -> ImportRejected:
    return ImportRejected(
        "channel_order_unsupported",
        "The network takes BGR, and its first operations could not be changed to take RGB. Export it with a reversal "
        "of the channels inside, as its first operation.",
    )
