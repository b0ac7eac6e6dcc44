"""Find, list and load pretrained backbones: timm/NAME.TAG, torchvision/NAME, hf/ORG/REPO[@REVISION] or local/NAME."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.backbones import imported, local, repositories, timm_hub, torchvision_hub
from models.backbones.errors import BackboneUnknown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.backbones.backbone import Backbone, BackboneSummary
    from models.backbones.config import BackboneConfig


def list_backbones(directory: Path | None) -> Iterator[BackboneSummary]:
    """List every backbone of timm, of torchvision, and of the directory of local ones."""
    if directory is not None:
        yield from local.list_backbones(directory)
    yield from timm_hub.list_backbones()
    yield from torchvision_hub.list_backbones()


def load(
    name: str, directory: Path | None, side: int | None = None, folder: Path | None = None, commit: str | None = None
) -> Backbone:
    """Load a backbone with its weights, for images of this longer side, in pixels; None is the backbone's own.

    `folder` holds the files of an uploaded backbone or of a checkpoint. `commit` is that of a backbone of the Hub; None
    is the newest of its branch. Raises BackboneError, InputSizeUnsupported.
    """
    if imported.is_imported(name) and folder is not None:
        return imported.load(name, folder, side)
    source = name.split("/")[0]
    if source == "timm":
        return timm_hub.load(name, side, commit)
    if source == "torchvision":
        return torchvision_hub.load(name, side)
    if source == "hf":
        return repositories.load(name, side, commit)
    if source == "local":
        return local.load(name, directory, side)
    raise BackboneUnknown(f"There is no source {source}; names begin with timm/, torchvision/, hf/ or local/.")


def read_config(name: str, directory: Path | None, folder: Path | None = None) -> BackboneConfig:
    """Read a backbone's configuration without its weights; arguments as of `load`. Raises BackboneError."""
    if imported.is_imported(name) and folder is not None:
        return imported.read_config(name, folder)
    source = name.split("/")[0]
    if source == "timm":
        return timm_hub.read_config(name)
    if source == "torchvision":
        return torchvision_hub.read_config(name)
    if source == "hf":
        return repositories.read_config(name)
    if source == "local":
        return local.read_config(name, directory)
    raise BackboneUnknown(f"There is no source {source}; names begin with timm/, torchvision/, hf/ or local/.")
