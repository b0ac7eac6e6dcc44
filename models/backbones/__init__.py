"""Backbones by name: SOURCE/NAME."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.backbones import local, timm_hub
from models.backbones.errors import BackboneUnknown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.backbones.architecture import Blueprint
    from models.backbones.backbone import Backbone, Listing


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


def blueprint(name: str, directory: Path | None) -> Blueprint:
    """What the source says of the backbone, without its weights; raises BackboneError."""
    source = name.split("/")[0]
    if source == "timm":
        return timm_hub.blueprint(name)
    if source == "hf":
        return timm_hub.repository_blueprint(name)
    if source == "local":
        return local.blueprint(name, directory)
    raise BackboneUnknown(f"There is no source {source}; names begin with timm/, hf/ or local/.")
