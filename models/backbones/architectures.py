"""Architectures of the libraries that build networks: timm's by their names, torchvision's as torchvision/NAME."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import timm
import torch

from models.backbones import torchvision_networks
from models.backbones.structure import GRAPH

if TYPE_CHECKING:
    from models.networks.types import TimmNetwork


def is_torchvision(architecture: str) -> bool:
    """Tell whether the architecture is one of torchvision's."""
    return architecture.startswith(torchvision_networks.PREFIX)


def name_library(architecture: str) -> str:
    """Name the library that builds an architecture."""
    return "torchvision" if is_torchvision(architecture) else "timm"


def is_known(architecture: str) -> bool:
    """Tell whether a library has the architecture, or a graph stands in its place."""
    return architecture == GRAPH or torchvision_networks.is_known(architecture) or timm.is_model(architecture)


def get_size_arguments(architecture: str, sides: list[int]) -> dict[str, Any]:
    """Get the arguments by which a network that knows the size of its images is built for this height and width."""
    if architecture == GRAPH:
        return {}
    if is_torchvision(architecture):
        return torchvision_networks.get_size_arguments(architecture, sides)
    return {"img_size": sides}


def build(architecture: str, **arguments: Any) -> TimmNetwork:
    """Build a network without weights, on the meta device. The library's own errors are raised."""
    if is_torchvision(architecture):
        cfg = arguments.pop("pretrained_cfg", {})
        return torchvision_networks.build(architecture, **{"num_classes": cfg.get("num_classes", 1000), **arguments})
    with torch.device("meta"):
        network: TimmNetwork = timm.create_model(architecture, **arguments)
    return network
