"""Backbones of torchvision, whose weights lie on download.pytorch.org: torchvision/NAME.WEIGHTS, or its default ones.

They are kept in torch.hub's folder (TORCH_HOME), as torchvision does, and opened as tensors alone (weights_only).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torchvision import models

from models.backbones import torchvision_networks
from models.backbones.backbone import Backbone, BackboneSummary
from models.backbones.config import BackboneConfig
from models.backbones.downloads import download
from models.backbones.errors import BackboneUnknown, WeightsBroken, WeightsUnfit
from models.backbones.torch_file import TorchFileBroken, TorchFileUnsafe, read_torch_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torchvision.models import Weights, WeightsEnum

LICENCE, SWAG_LICENCE = "bsd-3-clause", "cc-by-nc-4.0"
"""Licences of torchvision's weights, and of those that learned from SWAG's."""


def list_backbones() -> Iterator[BackboneSummary]:
    """List torchvision's image classifiers: each by its name, with its default weights, and by each of its weights."""
    for name in torchvision_networks.list_names():
        enum = models.get_model_weights(name)
        if not _is_classifier(enum.DEFAULT):  # none is today
            continue
        yield _summarize(f"torchvision/{name}", name, enum.DEFAULT)
        for weights in enum:
            if _is_classifier(weights):
                yield _summarize(f"torchvision/{name}.{weights.name}", name, weights)


def read_config(name: str) -> BackboneConfig:
    """Read the configuration of torchvision/NAME.WEIGHTS; raises BackboneUnknown."""
    architecture, weights = _find_weights(name)
    return BackboneConfig.from_source(name, partial(_describe, architecture, weights))


def load(name: str, side: int | None) -> Backbone:
    """Load torchvision/NAME.WEIGHTS with its weights, for images of this longer side or its own.

    Raises BackboneError, InputSizeUnsupported.
    """
    config = read_config(name)
    _, weights = _find_weights(name)
    file = download(name, weights.url, Path(torch.hub.get_dir()) / "checkpoints")
    return load_state(config, _read_state(name, file), side)


def load_state(config: BackboneConfig, state: Mapping[str, torch.Tensor], side: int | None) -> Backbone:
    """Load a network of torchvision with weights of its own names, for images of this longer side or its own.

    Raises BackboneTooLarge, ConfigurationBroken, InputSizeUnsupported, WeightsUnfit.
    """
    resized = config if side is None else config.resize_to(side)
    resized.check_memory()
    architecture = config.architecture
    if resized is not config:
        state = torchvision_networks.interpolate_positions(architecture, state, resized.preprocessing.side)
    try:
        network = torchvision_networks.load(architecture, config.num_classes, resized.model_args, state)
    except torchvision_networks.StateUnfit as error:
        raise WeightsUnfit(f"The weights of {config.name} do not fit {architecture}: {error}") from error
    own_size = None if resized is config else config.preprocessing.input_size
    return Backbone.from_network(
        config.name, architecture, resized.model_args, resized.pretrained_cfg, network, own_size
    )


def describe_preprocessing(weights: Weights) -> dict[str, Any]:
    """Describe the transforms of torchvision's weights in timm's words."""
    transforms = weights.transforms()
    (crop,), (resize,) = transforms.crop_size, transforms.resize_size
    return {
        "input_size": [3, crop, crop],
        "mean": list(transforms.mean),
        "std": list(transforms.std),
        "interpolation": transforms.interpolation.value,
        "crop_pct": _find_crop_pct(crop, resize),
        "crop_mode": "center",
    }


def _find_crop_pct(crop: int, resize: int) -> float:
    """Find the share of which timm computes just this side before the crop: ⌊crop/crop_pct⌋ = resize."""
    crop_pct = crop / resize
    return crop_pct if int(crop / crop_pct) == resize else crop / (resize + 1e-6)


def _find_weights(name: str) -> tuple[str, WeightsEnum]:
    """Find the architecture and the weights that a name means; raises BackboneUnknown."""
    network, _, tag = name.removeprefix("torchvision/").partition(".")
    if network not in torchvision_networks.list_names():
        raise BackboneUnknown(
            f"torchvision has no classifier {network!r:.100}. GET /v1/backbones?source=torchvision lists what there is."
        )
    enum = models.get_model_weights(network)
    offered = [weights.name for weights in enum if _is_classifier(weights)]
    if tag and tag not in offered:
        raise BackboneUnknown(f"torchvision's {network} has no weights {tag!r:.100}; it has {', '.join(offered)}.")
    return f"torchvision/{network}", enum[tag] if tag else enum.DEFAULT


def _is_classifier(weights: Weights) -> bool:
    """Tell whether weights are those of a whole classifier; of a VGG there are some of the features alone."""
    return weights.meta.get("categories") is not None


def _describe(architecture: str, weights: Weights) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Describe weights of torchvision by timm's configuration, architecture and model_args."""
    preprocessing = describe_preprocessing(weights)
    sized = torchvision_networks.get_size_arguments(architecture, preprocessing["input_size"][1:])
    categories = list(weights.meta["categories"])
    cfg = {
        **preprocessing,
        "fixed_input_size": bool(sized),
        "num_classes": len(categories),
        "label_names": categories,
        "license": _get_licence(weights),
        "url": weights.url,
    }
    return cfg, architecture, torchvision_networks.get_pretrained_arguments(architecture)


def _summarize(name: str, architecture: str, weights: Weights) -> BackboneSummary:
    side = weights.transforms().crop_size[0]
    return BackboneSummary(
        name=name,
        source="torchvision",
        architecture=f"torchvision/{architecture}",
        parameters=weights.meta["num_params"],
        input_size=(3, side, side),
        licence=_get_licence(weights),
        accuracy=round(weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, 5),
        multiply_adds=round(weights.meta["_ops"] * 1e9),
    )


def _get_licence(weights: Weights) -> str:
    return SWAG_LICENCE if "SWAG" in weights.meta.get("license", "") else LICENCE


def _read_state(name: str, file: Path) -> Mapping[str, torch.Tensor]:
    try:
        state: Mapping[str, torch.Tensor] = read_torch_file(file)
    except (TorchFileBroken, TorchFileUnsafe) as error:
        raise WeightsBroken(
            f"The weights of {name} cannot be read ({error}): delete {file}, and they are downloaded again."
        ) from error
    return state
