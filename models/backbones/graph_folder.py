"""Backbones that are graphs: a folder with graph.json beside config.json and model.safetensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from models.backbones.backbone import Backbone
from models.backbones.errors import WeightsUnfit
from models.backbones.structure import GRAPH
from models.backbones.weights_file import WEIGHTS, read_weights
from models.networks import graph_file
from models.networks.graph_copy import GraphError
from models.networks.image_sizes import InputSizeUnsupported

if TYPE_CHECKING:
    from pathlib import Path

    from models.backbones.config import BackboneConfig
    from models.networks.graph_network import GraphNetwork


def load(config: BackboneConfig, folder: Path, side: int | None) -> Backbone:
    """Load a backbone from its folder, for images of this longer side, in pixels, or its own.

    Raises BackboneError, InputSizeUnsupported.
    """
    name, preprocessing = config.name, config.preprocessing
    network = _read_network(config, folder)
    if side is None or side == preprocessing.side:
        return Backbone.from_network(name, GRAPH, {}, config.pretrained_cfg, network)
    resized = preprocessing.resize_to(side)
    if not _takes(network, resized.input_size):
        raise InputSizeUnsupported(
            f"{name} takes images of {preprocessing.pixels} alone: its graph holds numbers that follow from that size. "
            "Leave image_size out of the recipe, or import the network once more at the other size."
        )
    cfg = {**config.pretrained_cfg, "input_size": list(resized.input_size)}
    return Backbone.from_network(name, GRAPH, {}, cfg, network, preprocessing.input_size)


def _read_network(config: BackboneConfig, folder: Path) -> GraphNetwork:
    """Read a graph network with its weights; raises BackboneError."""
    assert config.structure.graph is not None
    config.check_memory()
    try:
        return graph_file.load(config.structure.graph, read_weights(config.name, folder / WEIGHTS))
    except GraphError as error:
        raise WeightsUnfit(f"The weights of {config.name} do not fit its {graph_file.GRAPH}: {error}") from error


@torch.no_grad()
def _takes(network: GraphNetwork, input_size: tuple[int, int, int]) -> bool:
    """Tell whether a graph takes images of another size than its own: tried, since its numbers may fit one alone.

    Each image's output must not depend on the others of the batch, and must depend on its last row and its last column
    if it depends on the image: the outputs of some networks are the same for all random images.
    """
    images = torch.randn(1, *input_size, generator=torch.Generator().manual_seed(0)).repeat(4, 1, 1, 1)
    images[1, :, -1, :] += 1.0
    images[2, :, :, -1] += 1.0
    images[3] = -images[3]
    try:
        together, alone = network(images), torch.cat([network(image[None]) for image in images])
    except Exception:  # each operation has errors of its own
        return False
    is_same_size = together.shape == alone.shape and len(alone) == len(images)
    if not is_same_size or not torch.allclose(together, alone, rtol=1e-3, atol=1e-4):
        return False
    last_row, last_column, whole = (not torch.equal(alone[0], other) for other in alone[1:])
    return not whole or (last_row and last_column)
