"""Backbones of timm's registry, whose weights lie on the Hugging Face Hub: timm/NAME.TAG.

Only safetensors are read: timm would fall back to a pickle, which may run code.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import timm
from timm.models import get_pretrained_cfg

from models.backbones.backbone import BackboneSummary
from models.backbones.config import BackboneConfig
from models.backbones.errors import BackboneUnknown, FileMissing, WeightsUnsafe
from models.backbones.hub import Repository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from timm.models import PretrainedCfg

    from models.backbones.backbone import Backbone

SAFE_NAMES = {None: "model.safetensors", "open_clip_pytorch_model.bin": "open_clip_model.safetensors"}
"""timm's file name of weights → the file name of the same weights as safetensors."""
ENCODERS = "_enc"
"""Suffix of architectures that have no classifier and cannot get one."""


def list_backbones() -> Iterator[BackboneSummary]:
    """List every pretrained classifier of timm whose weights are on the Hub; downloads nothing."""
    for name in timm.list_pretrained():
        cfg = get_pretrained_cfg(name)
        if _is_offered(cfg):
            accuracy, multiply_adds = _read_figures().get(name, (None, None))
            yield BackboneSummary(
                name=f"timm/{name}",
                source="timm",
                architecture=cfg.architecture,
                parameters=_parameter_counts().get(cfg.architecture),
                input_size=tuple(cfg.input_size),
                licence=cfg.license,
                accuracy=accuracy,
                multiply_adds=multiply_adds,
            )


def load(name: str, side: int | None, commit: str | None = None) -> Backbone:
    """Load timm/NAME.TAG with its weights from the Hub, at a pinned commit, for images of this longer side or its own.

    Raises BackboneError, InputSizeUnsupported.
    """
    config = read_config(name)
    resized = config if side is None else config.resize_to(side)
    cfg = get_pretrained_cfg(name.removeprefix("timm/"))
    filename, hub_id = SAFE_NAMES[cfg.hf_hub_filename], cfg.hf_hub_id.split("@")[0]
    try:
        folder = Repository(name, hub_id, commit).download(filename)
    except FileMissing as error:
        raise WeightsUnsafe(
            f"{name} has no safetensors; weights in other formats may run code and are not read. "
            "Convert them to safetensors, or choose another backbone."
        ) from error
    backbone = resized.load(name.removeprefix("timm/"), filename, hub_id=f"{hub_id}@{folder.name}")
    return replace(backbone, revision=folder.name)


def read_config(name: str) -> BackboneConfig:
    """Read timm's configuration of timm/NAME.TAG; raises BackboneUnknown."""
    model = name.removeprefix("timm/")
    cfg = get_pretrained_cfg(model) if timm.is_model_pretrained(model) else None
    if cfg is None or not _is_offered(cfg):
        raise BackboneUnknown(
            f"timm has no {model} with weights as safetensors. GET /v1/backbones?source=timm lists what there is."
        )
    return BackboneConfig.from_source(name, lambda: (cfg.to_dict(), cfg.architecture, None))


def _is_offered(cfg: PretrainedCfg) -> bool:
    """Tell whether a network classifies images, or can, and has safetensors on the Hub."""
    return (
        bool(cfg.hf_hub_id)
        and cfg.hf_hub_filename in SAFE_NAMES
        and cfg.input_size[0] == 3
        and not cfg.architecture.endswith(ENCODERS)
    )


@cache
def _parameter_counts() -> dict[str, int]:
    with (files(__package__) / "parameter_counts.csv").open() as table:
        return {row["architecture"]: int(row["parameters"]) for row in csv.DictReader(table)}


@cache
def _read_figures() -> dict[str, tuple[float | None, int | None]]:
    """Read accuracy and multiply-adds by timm's name with its tag."""
    with (files(__package__) / "timm_figures.csv").open() as table:
        return {
            row["name"]: (float(row["accuracy"] or 0) or None, int(row["multiply_adds"] or 0) or None)
            for row in csv.DictReader(table)
        }
