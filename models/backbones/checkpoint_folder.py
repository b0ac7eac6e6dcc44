"""A checkpoint of Graft as a backbone: its file becomes a folder with config.json, and graph.json of a graph.

Metadata of the file say how its network is built. Where other layers stand in place of the library's own modules,
as under an MLP head, config.json lists them under `replaced`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from models.backbones import architectures
from models.backbones.backbone import Backbone
from models.backbones.config import TIMM_ERRORS, BackboneConfig
from models.backbones.errors import ConfigurationBroken, WeightsBroken, WeightsUnfit
from models.backbones.structure import CONFIG, REPLACED
from models.backbones.weights_file import BROKEN, WEIGHTS, read_weights
from models.networks.graph_copy import GraphError
from models.networks.graph_file import GRAPH
from models.networks.image_sizes import InputSizeUnsupported
from models.networks.replaced_layers import put_layers
from models.networks.types import as_module

if TYPE_CHECKING:
    from pathlib import Path

    from models.networks.types import TimmNetwork

OF_OTHER_WEIGHTS = ("label_offset", "custom_load", "url", "hf_hub_id", "hf_hub_filename", "file", "source")
"""Keys of timm's configuration that say something of the file that the backbone came from."""


def read_metadata(name: str, file: Path) -> dict[str, str]:
    """Read the metadata of a checkpoint's file; empty where it has none. Raises WeightsBroken."""
    try:
        with safe_open(file, framework="pt") as tensors:
            return dict(tensors.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsBroken(BROKEN.format(name=name, error=error)) from error


def write_configuration(name: str, folder: Path) -> dict[str, str]:
    """Write the config.json, and graph.json of a graph, that the metadata of a folder's checkpoint state.

    Returns the metadata. Raises WeightsBroken, ConfigurationBroken.
    """
    metadata = read_metadata(name, folder / WEIGHTS)
    try:
        parsed = {key: json.loads(metadata[key]) for key in (*PARSED, *(metadata.keys() & OPTIONAL))}
        cfg = {key: value for key, value in parsed["pretrained_cfg"].items() if key not in OF_OTHER_WEIGHTS}
        config = {
            "architecture": metadata["architecture"],
            "num_classes": parsed["num_classes"],
            "label_names": parsed["class_names"],
            "model_args": parsed["model_args"],
            "pretrained_cfg": {**cfg, "license": metadata.get("licence")},
            REPLACED: parsed.get("replaced", {}),
        }
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigurationBroken(
            f"The metadata of {name} are not those of a checkpoint of Graft ({type(error).__name__}: {error})."
        ) from error
    (folder / CONFIG).write_text(json.dumps(config))
    if "graph" in parsed:
        (folder / GRAPH).write_text(json.dumps(parsed["graph"]))
    return metadata


PARSED = ("num_classes", "class_names", "model_args", "pretrained_cfg")
OPTIONAL = {"replaced", "graph"}
"""Metadata that are JSON."""


def load(config: BackboneConfig, folder: Path, side: int | None) -> Backbone:
    """Load a network some of whose modules are replaced, for images of this longer side, in pixels, or its own.

    Raises BackboneError, InputSizeUnsupported.
    """
    resized = config if side is None else config.resize_to(side)
    if resized.model_args != config.model_args:
        raise InputSizeUnsupported(
            f"{config.name} takes images of {config.preprocessing.pixels} alone, since other layers stand in place of "
            "its architecture's. Leave image_size out of the recipe."
        )
    network = _build(config)
    is_outline = architectures.is_torchvision(config.architecture)  # all of whose tensors are in the file
    try:
        as_module(network).load_state_dict(read_weights(config.name, folder / WEIGHTS), assign=is_outline)
    except TIMM_ERRORS as error:
        raise WeightsUnfit(f"The weights of {config.name} do not fit its layers: {error}") from error
    for path in config.structure.replaced:
        _give_bias(network.get_submodule(path))
    own_size = None if resized is config else config.preprocessing.input_size
    return Backbone.from_network(
        config.name, config.architecture, config.model_args, resized.pretrained_cfg, network, own_size
    )


def _build(config: BackboneConfig) -> TimmNetwork:
    """Build the network without its weights, with other layers in the places of some; raises BackboneError."""
    config.check_memory()
    arguments = {"num_classes": config.num_classes, **config.model_args}
    try:
        if architectures.is_torchvision(config.architecture):
            network = architectures.build(config.architecture, **arguments)
        else:
            network = timm.create_model(config.architecture, **arguments)
        put_layers(network, config.structure.replaced)
    except (GraphError, *TIMM_ERRORS) as error:
        raise ConfigurationBroken(f"No layers of {config.name} can be put in place of others: {error}") from error
    return network


@torch.no_grad()
def _give_bias(layers: nn.Module) -> None:
    """Give a linear layer at the end of a sequence a bias of 0, if it has none, as under a cosine head."""
    last = list(layers.children())[-1:]
    if last and isinstance(last[0], nn.Linear) and last[0].bias is None:
        last[0].bias = nn.Parameter(torch.zeros(last[0].out_features))
