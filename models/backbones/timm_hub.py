"""Backbones of timm's registry, whose weights lie on the Hugging Face Hub: timm/NAME.TAG, and hf/ORG/REPO.

Loading is timm's and huggingface_hub's own, so HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE work as everywhere.
Only safetensors are read: timm would fall back to a pickle, which may run code.
"""

from __future__ import annotations

import csv
from contextlib import contextmanager
from functools import cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING

import timm
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from timm.models import get_pretrained_cfg, load_model_config_from_hf

from models.backbones.architecture import Blueprint
from models.backbones.backbone import Listing
from models.backbones.errors import BackboneUnknown, WeightsUnavailable, WeightsUnsafe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from timm.models import PretrainedCfg

    from models.backbones.backbone import Backbone

SAFE_NAMES = {None: "model.safetensors", "open_clip_pytorch_model.bin": "open_clip_model.safetensors"}
"""timm's file name of weights → that of the same weights as safetensors."""
ENCODERS = "_enc"
"""The ends of names of architectures that have no classifier, and can be given none."""


def listings() -> Iterator[Listing]:
    """Every pretrained classifier of timm whose weights are on the Hub. Nothing is downloaded."""
    for name in timm.list_pretrained():
        cfg = get_pretrained_cfg(name)
        if _is_offered(cfg):
            yield Listing(
                name=f"timm/{name}",
                source="timm",
                architecture=cfg.architecture,
                parameters=_parameters().get(cfg.architecture),
                input_size=tuple(cfg.input_size),
                licence=cfg.license,
            )


def load(name: str) -> Backbone:
    """timm/NAME.TAG with its weights, from the Hub or its cache; raises BackboneError."""
    said = blueprint(name)
    model = name.removeprefix("timm/")
    with _reaching(name):
        return said.load(model, SAFE_NAMES[get_pretrained_cfg(model).hf_hub_filename])


def load_repository(name: str) -> Backbone:
    """hf/ORG/REPO, any timm network on the Hub, with its weights; raises BackboneError."""
    said = repository_blueprint(name)
    with _reaching(name):
        return said.load(f"hf-hub:{_repository(name)}", SAFE_NAMES[None])


def blueprint(name: str) -> Blueprint:
    """What timm says of timm/NAME.TAG; raises BackboneUnknown."""
    model = name.removeprefix("timm/")
    cfg = get_pretrained_cfg(model) if timm.is_model_pretrained(model) else None
    if cfg is None or not _is_offered(cfg):
        raise BackboneUnknown(f"timm offers no {model}. GET /v1/backbones?source=timm lists what it offers.")
    return Blueprint.read(name, lambda: (cfg.to_dict(), cfg.architecture, None))


def repository_blueprint(name: str) -> Blueprint:
    """What the Hub says of hf/ORG/REPO; downloads its config.json alone. Raises BackboneError."""
    with _reaching(name):
        return Blueprint.read(name, partial(load_model_config_from_hf, _repository(name)))


def _repository(name: str) -> str:
    return name.removeprefix("hf/")


def _is_offered(cfg: PretrainedCfg) -> bool:
    """Whether it is a classifier, or can become one, of images, and has safetensors on the Hub."""
    return (
        bool(cfg.hf_hub_id)
        and cfg.hf_hub_filename in SAFE_NAMES
        and cfg.input_size[0] == 3
        and not cfg.architecture.endswith(ENCODERS)
    )


@contextmanager
def _reaching(name: str) -> Iterator[None]:
    """Name what can go wrong on the way to the Hub."""
    try:
        yield
    except GatedRepoError as error:
        raise WeightsUnavailable(
            f"The weights of {name} are gated. Accept their terms on the Hub and set HF_TOKEN on the workers."
        ) from error
    except RepositoryNotFoundError as error:
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
            f"{name} has no config.json or no safetensors; weights in other forms may run code and are not read. "
            "Convert them to safetensors, or choose another backbone."
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise WeightsUnavailable(f"The Hub did not give the weights of {name}: {error}. Try again later.") from error


@cache
def _parameters() -> dict[str, int]:
    with (files(__package__) / "parameter_counts.csv").open() as table:
        return {row["architecture"]: int(row["parameters"]) for row in csv.DictReader(table)}
