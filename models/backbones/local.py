"""Local backbones: folders in the layout of the Hugging Face Hub (config.json, model.safetensors), local/NAME."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import timm

from models.backbones.backbone import Backbone, Listing, Preprocessing
from models.backbones.errors import BackboneUnknown, WeightsUnfit, WeightsUnsafe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.surgery import TimmNetwork

log = logging.getLogger(__name__)

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def listings(directory: Path) -> Iterator[Listing]:
    """Every folder of `directory` that holds a backbone; one that cannot be read is left out, and logged."""
    for folder in sorted(directory.iterdir()):
        if (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file():
            try:
                yield _listing(folder)
            except (ValueError, KeyError, TypeError) as error:
                log.warning("%s is left out, its files cannot be read: %r", folder, error)


def _listing(folder: Path) -> Listing:
    config = json.loads((folder / CONFIG).read_text())
    cfg = config.get("pretrained_cfg", {})
    return Listing(
        name=f"local/{folder.name}",
        source="local",
        architecture=config["architecture"],
        parameters=_parameters(folder / WEIGHTS),
        input_size=Preprocessing.of(cfg).input_size,
        licence=cfg.get("license"),
    )


def load(name: str, directory: Path | None) -> Backbone:
    """local/NAME from `directory`; raises BackboneError."""
    folder, config = _open(name, directory)
    if not (folder / WEIGHTS).is_file():
        raise WeightsUnsafe(f"{name} has no {WEIGHTS}; weights in other forms may run code and are not read.")
    try:
        network = timm.create_model(f"local-dir:{folder}", pretrained=True)
    except RuntimeError as error:
        raise WeightsUnfit(f"The weights of {name} do not fit {config['architecture']}: {error}") from error
    return Backbone(
        name=name,
        architecture=config["architecture"],
        model_args=_model_args(config),
        pretrained_cfg=_portable(network.pretrained_cfg),
        network=network.eval().requires_grad_(False),
    )


def outline(name: str, directory: Path | None) -> TimmNetwork:
    """The network of local/NAME without its weights; raises BackboneUnknown."""
    _, config = _open(name, directory)
    cfg = config.get("pretrained_cfg")
    return timm.create_model(config["architecture"], pretrained_cfg=cfg, **_model_args(config))


def _open(name: str, directory: Path | None) -> tuple[Path, dict[str, Any]]:
    if directory is None:
        raise BackboneUnknown(f"There is no {name}: set GRAFT_BACKBONES to the directory of local backbones.")
    folder = directory / name.removeprefix("local/")
    if folder.parent != directory or not (folder / CONFIG).is_file():
        raise BackboneUnknown(f"There is no {name}: GRAFT_BACKBONES has no such folder with a {CONFIG}.")
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text())
    return folder, config


def _model_args(config: dict[str, Any]) -> dict[str, Any]:
    """Without the number of classes, which the new head decides."""
    return {key: value for key, value in (config.get("model_args") or {}).items() if key != "num_classes"}


def _portable(cfg: dict[str, Any]) -> dict[str, Any]:
    """The configuration without the place where the weights lay on this machine."""
    return {key: value for key, value in cfg.items() if key not in {"file", "source", "url", "state_dict"}}


def _parameters(weights: Path) -> int:
    """The numbers in a safetensors file by its header; buffers of BatchNorm are left out."""
    with weights.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    count = 0
    for name, tensor in header.items():
        if name == "__metadata__" or name.rsplit(".")[-1] in {
            "running_mean",
            "running_var",
            "num_batches_tracked",
        }:
            continue
        numbers = 1
        for side in tensor["shape"]:
            numbers *= side
        count += numbers
    return count
