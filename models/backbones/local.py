"""Local backbones: folders in the layout of the Hugging Face Hub (config.json, model.safetensors), local/NAME."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from models.backbones import architectures, checkpoint_folder, graph_folder, torchvision_hub, weights_file
from models.backbones.backbone import BackboneSummary
from models.backbones.config import BackboneConfig
from models.backbones.errors import BackboneUnknown, WeightsUnsafe
from models.backbones.structure import CONFIG
from models.backbones.weights_file import count_parameters, read_weights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.backbones.backbone import Backbone

log = logging.getLogger(__name__)

WEIGHTS = weights_file.WEIGHTS
MAX_NAME = 200
"""Most characters in the name of a folder: the database keeps 255 with the source."""


def list_backbones(directory: Path) -> Iterator[BackboneSummary]:
    """List every folder of `directory` that holds a backbone; log those that cannot be used, and why.

    They are listed by name alone: whoever asks for one learns what is wrong with it.
    """
    try:
        folders = sorted(folder for folder in directory.iterdir() if _seems_backbone(folder))
    except OSError as error:
        log.warning(
            "GRAFT_BACKBONES names %s, which cannot be listed (%s): there are no local backbones", directory, error
        )
        return
    for folder in folders:
        name = f"local/{folder.name}"
        if len(folder.name) > MAX_NAME or not folder.name.isprintable():
            log.warning("Skipped the backbone in %a: its name is too long, or not all of it can be shown", str(folder))
            continue
        try:
            yield _read_config(name, folder).summarize(count_parameters(name, folder / WEIGHTS))
        except Exception as error:  # whatever is in one folder, the others are listed
            log.warning("The backbone in %s cannot be used: %s", folder, error)
            yield BackboneSummary(name, "local", None, None, None, None)


def load(name: str, directory: Path | None, side: int | None) -> Backbone:
    """Load local/NAME from `directory`, for images of this longer side or the backbone's own; raises BackboneError."""
    folder = _find_folder(name, directory)
    return load_folder(_read_config(name, folder), folder, side)


def load_folder(config: BackboneConfig, folder: Path, side: int | None) -> Backbone:
    """Load the backbone with this configuration from its folder."""
    if config.structure.graph is not None:
        return graph_folder.load(config, folder, side)
    if config.structure.replaced:
        return checkpoint_folder.load(config, folder, side)
    config.check_weights(folder / WEIGHTS)
    if architectures.is_torchvision(config.architecture):
        return torchvision_hub.load_state(config, read_weights(config.name, folder / WEIGHTS), side)
    resized = config if side is None else config.resize_to(side)
    return resized.load(f"local-dir:{folder}", WEIGHTS)


def read_config(name: str, directory: Path | None) -> BackboneConfig:
    """Read the configuration of local/NAME, and check that it has weights; raises BackboneError."""
    folder = _find_folder(name, directory)
    config = _read_config(name, folder)
    config.check_weights(folder / WEIGHTS)
    return config


def _find_folder(name: str, directory: Path | None) -> Path:
    if directory is None:
        raise BackboneUnknown(f"There is no {name}: set GRAFT_BACKBONES to the directory of local backbones.")
    folder = directory / name.removeprefix("local/")
    # Only the directory's own entries: neither a/b nor .. is a backbone's name.
    try:
        is_entry = folder in directory.iterdir() and _seems_backbone(folder)
    except OSError as error:
        raise BackboneUnknown(f"There is no {name}: GRAFT_BACKBONES cannot be listed ({error.strerror}).") from error
    if not is_entry:
        raise BackboneUnknown(f"There is no {name}: GRAFT_BACKBONES has no such folder with a {CONFIG}.")
    return folder


def _seems_backbone(folder: Path) -> bool:
    """Tell whether a folder has a file of a backbone, or does not show what it has."""
    try:
        return any(file.name in (CONFIG, WEIGHTS) for file in folder.iterdir())
    except NotADirectoryError:
        return False
    except OSError:
        return True


def _read_config(name: str, folder: Path) -> BackboneConfig:
    config = BackboneConfig.from_folder(name, folder)
    if not (folder / WEIGHTS).exists():
        raise WeightsUnsafe(
            f"{name} has no {WEIGHTS}; weights in other formats may run code and are not read. "
            "Convert them to safetensors."
        )
    return config
