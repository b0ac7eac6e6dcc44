"""Local backbones: folders in the layout of the Hugging Face Hub (config.json, model.safetensors), local/NAME."""

from __future__ import annotations

import json
import logging
import math
from functools import partial
from typing import TYPE_CHECKING

from timm.models._hub import load_model_config_from_path

from models.backbones.architecture import Blueprint
from models.backbones.errors import BackboneUnknown, ConfigurationBroken, WeightsUnsafe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.backbones.backbone import Backbone, Listing

log = logging.getLogger(__name__)

CONFIG, WEIGHTS = "config.json", "model.safetensors"
STATISTICS = {"running_mean", "running_var", "num_batches_tracked"}
"""What BatchNorm keeps beside its parameters."""


def listings(directory: Path) -> Iterator[Listing]:
    """Every folder of `directory` that holds a backbone; one that cannot be read is left out, and logged."""
    if not directory.is_dir():
        log.warning("GRAFT_BACKBONES names %s, which is no folder: no local backbone is offered", directory)
        return
    for folder in sorted(directory.iterdir()):
        if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
            try:
                yield _blueprint(folder).listing(_parameters(folder / WEIGHTS))
            except (ConfigurationBroken, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
                log.warning("%s is left out, its files cannot be read: %s", folder, error)


def load(name: str, directory: Path | None) -> Backbone:
    """local/NAME from `directory`; raises BackboneError."""
    folder = _folder(name, directory)
    if not (folder / WEIGHTS).is_file():
        raise WeightsUnsafe(f"{name} has no {WEIGHTS}; weights in other forms may run code and are not read.")
    return _blueprint(folder).load(f"local-dir:{folder}", WEIGHTS)


def blueprint(name: str, directory: Path | None) -> Blueprint:
    """What local/NAME says of itself; raises BackboneUnknown, ConfigurationBroken."""
    return _blueprint(_folder(name, directory))


def _folder(name: str, directory: Path | None) -> Path:
    if directory is None:
        raise BackboneUnknown(f"There is no {name}: set GRAFT_BACKBONES to the directory of local backbones.")
    folder = directory / name.removeprefix("local/")
    # Only what the directory lists itself: neither the way up nor the way into a folder is a backbone's name.
    if not directory.is_dir() or folder not in directory.iterdir() or not (folder / CONFIG).is_file():
        raise BackboneUnknown(f"There is no {name}: GRAFT_BACKBONES has no such folder with a {CONFIG}.")
    return folder


def _blueprint(folder: Path) -> Blueprint:
    return Blueprint.read(f"local/{folder.name}", partial(load_model_config_from_path, folder))


def _parameters(weights: Path) -> int:
    """The numbers in a safetensors file by its header; buffers of BatchNorm are left out."""
    with weights.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name.split(".")[-1] not in STATISTICS)
