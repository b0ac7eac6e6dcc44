"""Find, list and load pretrained backbones by name, SOURCE/NAME: timm/NAME.TAG, hf/ORG/REPO or local/NAME."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.backbones import local, timm_hub
from models.backbones.errors import BackboneUnknown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.backbones.backbone import Backbone, BackboneSummary
    from models.backbones.config import BackboneConfig


def list_backbones(directory: Path | None) -> Iterator[BackboneSummary]:
    """List every backbone of timm and of the directory of local ones."""
    if directory is not None:
        yield from local.list_backbones(directory)
    yield from timm_hub.list_backbones()


def load(name: str, directory: Path | None, side: int | None = None) -> Backbone:
    """Load a backbone with its weights, for images of this longer side, in pixels; None is the backbone's own.

    Raises BackboneError, InputSizeUnsupported.
    """
    source = name.split("/")[0]
    if source == "timm":
        return timm_hub.load(name, side)
    if source == "hf":
        return timm_hub.load_repository(name, side)
    if source == "local":
        return local.load(name, directory, side)
    raise BackboneUnknown(f"There is no source {source}; names begin with timm/, hf/ or local/.")


def read_config(name: str, directory: Path | None) -> BackboneConfig:
    """Read a backbone's configuration without its weights; raises BackboneError."""
    source = name.split("/")[0]
    if source == "timm":
        return timm_hub.read_config(name)
    if source == "hf":
        return timm_hub.read_repository_config(name)
    if source == "local":
        return local.read_config(name, directory)
    raise BackboneUnknown(f"There is no source {source}; names begin with timm/, hf/ or local/.")
