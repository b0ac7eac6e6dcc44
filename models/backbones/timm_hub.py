"""Backbones of timm's registry, whose weights lie on the Hugging Face Hub: timm/NAME.TAG, and hf/ORG/REPO.

Loading is timm's and huggingface_hub's own, so HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE work as everywhere.
Only safetensors are read: timm would fall back to a pickle, which may run code.
"""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

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

from models.backbones.backbone import Backbone, Listing
from models.backbones.errors import BackboneUnknown, WeightsUnavailable, WeightsUnfit, WeightsUnsafe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.surgery import TimmNetwork

SAFE_NAMES = {None: "model.safetensors", "open_clip_pytorch_model.bin": "open_clip_model.safetensors"}
"""timm's file name of weights → that of the same weights as safetensors."""


def listings() -> Iterator[Listing]:
    """Every pretrained classifier of timm whose weights are on the Hub. Nothing is downloaded."""
    for name in timm.list_pretrained():
        cfg = get_pretrained_cfg(name)
        if not cfg.hf_hub_id or cfg.custom_load or cfg.hf_hub_filename not in SAFE_NAMES or cfg.input_size[0] != 3:
            continue
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
    model = name.removeprefix("timm/")
    cfg = get_pretrained_cfg(model)
    if cfg is None:
        raise BackboneUnknown(f"timm knows no {model}. GET /v1/backbones?source=timm lists what it knows.")
    filename = SAFE_NAMES.get(cfg.hf_hub_filename, "model.safetensors")
    network = _create(name, model, {"hf_hub_filename": filename})
    return _backbone(name, network, _fixed_size(network.pretrained_cfg))


def load_repository(name: str) -> Backbone:
    """hf/ORG/REPO, any timm network on the Hub, with its weights; raises BackboneError."""
    _, repository = name.split("/", 1)
    network = _create(name, f"hf-hub:{repository}", {"hf_hub_filename": "model.safetensors"})
    _, _, model_args = load_model_config_from_hf(repository)
    return _backbone(name, network, {k: v for k, v in (model_args or {}).items() if k != "num_classes"})


def outline(name: str) -> TimmNetwork:
    """The network of timm/NAME.TAG without its weights."""
    return timm.create_model(name.removeprefix("timm/"))


def _backbone(name: str, network: Any, model_args: dict[str, Any]) -> Backbone:
    cfg = {key: value for key, value in network.pretrained_cfg.items() if key != "hf_hub_filename"}
    return Backbone(name, cfg["architecture"], model_args, cfg, network.eval().requires_grad_(False))


def _fixed_size(cfg: dict[str, Any]) -> dict[str, Any]:
    # Two tags of one architecture may differ in the size that they were made for; the default tag's would be taken.
    return {"img_size": list(cfg["input_size"][1:])} if cfg.get("fixed_input_size") else {}


def _create(name: str, model: str, overlay: dict[str, Any]) -> Any:
    try:
        return timm.create_model(model, pretrained=True, pretrained_cfg_overlay=overlay)
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
            f"{name} has no {overlay['hf_hub_filename']}; weights in other forms may run code and are not read. "
            "Convert them to safetensors, or choose another backbone."
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise WeightsUnavailable(f"The Hub did not give the weights of {name}: {error}. Try again later.") from error
    except RuntimeError as error:
        raise WeightsUnfit(f"The weights of {name} do not fit its architecture: {error}") from error


@cache
def _parameters() -> dict[str, int]:
    with (files(__package__) / "timm_parameters.csv").open() as table:
        return {row["architecture"]: int(row["parameters"]) for row in csv.DictReader(table)}
