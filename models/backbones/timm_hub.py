"""Backbones of timm's registry, whose weights lie on the Hugging Face Hub: timm/NAME.TAG, and hf/ORG/REPO.

Loading is timm's and huggingface_hub's own, so HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE work as everywhere.
Only safetensors are read: timm would fall back to a pickle, which may run code.
"""

from __future__ import annotations

import csv
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import timm
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from timm.models import get_pretrained_cfg

from models.backbones import local
from models.backbones.backbone import BackboneSummary
from models.backbones.config import CONFIG, BackboneConfig
from models.backbones.errors import BackboneUnknown, WeightsUnavailable, WeightsUnsafe

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
            yield BackboneSummary(
                name=f"timm/{name}",
                source="timm",
                architecture=cfg.architecture,
                parameters=_parameter_counts().get(cfg.architecture),
                input_size=tuple(cfg.input_size),
                licence=cfg.license,
            )


def load(name: str, side: int | None) -> Backbone:
    """Load timm/NAME.TAG with its weights from the Hub or its cache, for images of this longer side or its own.

    Raises BackboneError, InputSizeUnsupported.
    """
    config = read_config(name)
    resized = config if side is None else config.resize_to(side)
    model = name.removeprefix("timm/")
    with _name_hub_errors(name):
        return resized.load(model, SAFE_NAMES[get_pretrained_cfg(model).hf_hub_filename])


def load_repository(name: str, side: int | None) -> Backbone:
    """Load hf/ORG/REPO, any timm network on the Hub, with its weights; arguments and errors as of `load`."""
    folder = _download_config(name)
    config = BackboneConfig.from_folder(name, folder)
    with _name_hub_errors(name):  # of the same commit, whose id is the name of the folder
        hf_hub_download(_repository(name), local.WEIGHTS, revision=folder.name)
    return local.load_folder(config, folder, side)


def read_config(name: str) -> BackboneConfig:
    """Read timm's configuration of timm/NAME.TAG; raises BackboneUnknown."""
    model = name.removeprefix("timm/")
    cfg = get_pretrained_cfg(model) if timm.is_model_pretrained(model) else None
    if cfg is None or not _is_offered(cfg):
        raise BackboneUnknown(
            f"timm has no {model} with weights as safetensors. GET /v1/backbones?source=timm lists what there is."
        )
    return BackboneConfig.from_source(name, lambda: (cfg.to_dict(), cfg.architecture, None))


def read_repository_config(name: str) -> BackboneConfig:
    """Download and read the config.json of hf/ORG/REPO, without its weights; raises BackboneError."""
    return BackboneConfig.from_folder(name, _download_config(name))


def _download_config(name: str) -> Path:
    """Download the config.json of a repository; returns the folder of its commit in the cache."""
    with _name_hub_errors(name):
        return Path(hf_hub_download(_repository(name), CONFIG)).parent


def _repository(name: str) -> str:
    return name.removeprefix("hf/")


def _is_offered(cfg: PretrainedCfg) -> bool:
    """Tell whether a network classifies images, or can, and has safetensors on the Hub."""
    return (
        bool(cfg.hf_hub_id)
        and cfg.hf_hub_filename in SAFE_NAMES
        and cfg.input_size[0] == 3
        and not cfg.architecture.endswith(ENCODERS)
    )


@contextmanager
def _name_hub_errors(name: str) -> Iterator[None]:
    """Turn errors of the Hub into BackboneErrors that say what to do."""
    try:
        yield
    except GatedRepoError as error:
        raise WeightsUnavailable(
            f"The weights of {name} are gated. Accept their terms on the Hub and set HF_TOKEN on the workers."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise BackboneUnknown(
            f"The Hub has no {name}. If it is private, set HF_TOKEN on the workers; else check the name."
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise WeightsUnavailable(
            f"The weights of {name} are not in the cache (HF_HOME), and the Hub cannot be reached. "
            "Check the workers' network, HF_ENDPOINT and HF_HUB_OFFLINE, or use a backbone of GRAFT_BACKBONES."
        ) from error
    except EntryNotFoundError as error:
        raise WeightsUnsafe(
            f"{name} has no config.json or no safetensors; weights in other formats may run code and are not read. "
            "Convert them to safetensors, or choose another backbone."
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise WeightsUnavailable(f"The Hub did not give the weights of {name}: {error}. Try again later.") from error


@cache
def _parameter_counts() -> dict[str, int]:
    with (files(__package__) / "parameter_counts.csv").open() as table:
        return {row["architecture"]: int(row["parameters"]) for row in csv.DictReader(table)}
