"""Backbones of users: uploaded ones, bb_…, and checkpoints, ckpt_…; a worker has put their files into a folder."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from models.backbones import checkpoint_folder, local
from models.backbones.config import BackboneConfig
from models.backbones.errors import WeightsUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from models.backbones.backbone import Backbone

UPLOADED, CHECKPOINT = "bb_", "ckpt_"
"""How the names of uploaded backbones and of checkpoints begin."""


def is_imported(name: str) -> bool:
    """Tell whether a name is that of an uploaded backbone or of a checkpoint."""
    return name.startswith((UPLOADED, CHECKPOINT))


def load(name: str, folder: Path, side: int | None) -> Backbone:
    """Load a backbone from the folder of its files, for images of this longer side, in pixels, or its own.

    A checkpoint's folder has its file alone, as model.safetensors. Raises BackboneError, InputSizeUnsupported.
    """
    _require_files(name, folder)
    if name.startswith(UPLOADED):
        return load_folder(name, folder, side)
    metadata = checkpoint_folder.write_configuration(name, folder)
    lineage = (*json.loads(metadata.get("lineage", "[]")), metadata["backbone"])
    return replace(load_folder(name, folder, side), lineage=lineage)


def read_config(name: str, folder: Path) -> BackboneConfig:
    """Read the configuration of a backbone from the folder of its files; arguments and errors as of `load`."""
    _require_files(name, folder)
    if name.startswith(CHECKPOINT):
        checkpoint_folder.write_configuration(name, folder)
    return BackboneConfig.from_folder(name, folder)


def _require_files(name: str, folder: Path) -> None:
    if not (folder / local.WEIGHTS).exists():
        raise WeightsUnavailable(
            f"The files of {name} are missing in the service's storage, or were changed there. Restore them from its "
            "backup, or choose another backbone."
        )


def load_folder(name: str, folder: Path, side: int | None = None) -> Backbone:
    """Load a backbone from a folder that has its config.json; arguments and errors as of `load`."""
    return local.load_folder(BackboneConfig.from_folder(name, folder), folder, side)
