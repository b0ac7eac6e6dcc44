"""Local backbones: folders in the layout of the Hugging Face Hub (config.json, model.safetensors), local/NAME."""

from __future__ import annotations

import json
import logging
import math
from functools import partial
from typing import TYPE_CHECKING

from timm.models._hub import load_model_config_from_path

from models.backbones.config import BackboneConfig
from models.backbones.errors import BackboneUnknown, ConfigurationBroken, WeightsUnsafe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.backbones.backbone import Backbone, BackboneSummary

log = logging.getLogger(__name__)

CONFIG, WEIGHTS = "config.json", "model.safetensors"
STATISTICS = {"running_mean", "running_var", "num_batches_tracked"}
"""Buffers of BatchNorm, which are no parameters."""


def list_backbones(directory: Path) -> Iterator[BackboneSummary]:
    """List every folder of `directory` that holds a backbone; log and skip those that cannot be read."""
    if not directory.is_dir():
        log.warning("GRAFT_BACKBONES names %s, which is not a folder: there are no local backbones", directory)
        return
    for folder in sorted(directory.iterdir()):
        if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
            try:
                yield _read_config(folder).summarize(_count_parameters(folder / WEIGHTS))
            except (ConfigurationBroken, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
                log.warning("Skipped the backbone in %s, whose files cannot be read: %s", folder, error)


def load(name: str, directory: Path | None) -> Backbone:
    """Load local/NAME from `directory`; raises BackboneError."""
    folder = _find_folder(name, directory)
    if not (folder / WEIGHTS).is_file():
        raise WeightsUnsafe(
            f"{name} has no {WEIGHTS}; weights in other formats may run code and are not read. "
            "Convert them to safetensors."
        )
    return _read_config(folder).load(f"local-dir:{folder}", WEIGHTS)


def read_config(name: str, directory: Path | None) -> BackboneConfig:
    """Read the config.json of local/NAME; raises BackboneUnknown, ConfigurationBroken."""
    return _read_config(_find_folder(name, directory))


def _find_folder(name: str, directory: Path | None) -> Path:
    if directory is None:
        raise BackboneUnknown(f"There is no {name}: set GRAFT_BACKBONES to the directory of local backbones.")
    folder = directory / name.removeprefix("local/")
    # Only the directory's own entries: neither a/b nor .. is a backbone's name.
    if not directory.is_dir() or folder not in directory.iterdir() or not (folder / CONFIG).is_file():
        raise BackboneUnknown(f"There is no {name}: GRAFT_BACKBONES has no such folder with a {CONFIG}.")
    return folder


def _read_config(folder: Path) -> BackboneConfig:
    return BackboneConfig.from_source(f"local/{folder.name}", partial(load_model_config_from_path, folder))


def _count_parameters(weights: Path) -> int:
    """Count the parameters of a safetensors file by its header; BatchNorm's buffers do not count."""
    with weights.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name.split(".")[-1] not in STATISTICS)
