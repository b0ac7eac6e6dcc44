"""Backbones by name: SOURCE/NAME."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from models.backbones import local, timm_hub
from models.backbones.backbone import Preprocessing
from models.backbones.errors import BackboneUnknown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.backbones.backbone import Backbone, Listing
    from models.surgery import TimmNetwork


def listings(directory: Path | None) -> Iterator[Listing]:
    """Every backbone that can be listed; `directory` holds the local ones."""
    if directory is not None:
        yield from local.listings(directory)
    yield from timm_hub.listings()


def load(name: str, directory: Path | None) -> Backbone:
    """The backbone with its weights; raises BackboneError."""
    source = name.split("/")[0]
    if source == "timm":
        return timm_hub.load(name)
    if source == "hf":
        return timm_hub.load_repository(name)
    if source == "local":
        return local.load(name, directory)
    raise BackboneUnknown(f"There is no source {source}; names begin with timm/, hf/ or local/.")


def outline(name: str, directory: Path | None) -> tuple[TimmNetwork, tuple[int, int, int]]:
    """The backbone's network without weights, on the meta device, and the size of its input; downloads nothing."""
    with torch.device("meta"):
        network = local.outline(name, directory) if name.startswith("local/") else timm_hub.outline(name)
    preprocessing = Preprocessing.of(network.pretrained_cfg)
    return network, preprocessing.input_size
