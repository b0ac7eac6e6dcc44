"""Read a folder in timm's layout: config.json, and model.safetensors or pytorch_model.bin of tensors alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from models.backbones.config import BackboneConfig
from models.conversion.converted import PreprocessingFacts
from models.importers.errors import ImportRejected
from models.importers.folders import CONFIG
from models.importers.named_architecture import find_architecture
from models.importers.state_dict import place
from models.importers.weights import read_weights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from models.importers.reader import ReadNetwork
    from models.importers.request import ImportRequest

WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.pth")
FACTS = ("mean", "std", "interpolation", "crop_pct", "crop_mode")
KEPT = ("fixed_input_size", "classifier", "first_conv", "pool_size", "tag", "origin_url", "paper_name", "paper_ids")
"""Entries of the configuration that a backbone keeps beside its preprocessing."""


def read(request: ImportRequest) -> ReadNetwork:
    """Read the network of a folder; raises ImportRejected, ConfigurationBroken."""
    folder, name = request.file, request.name or request.file.name
    config = BackboneConfig.from_folder(name, folder)
    file = next((folder / one for one in WEIGHTS if (folder / one).is_file()), None) or _find_one(folder, name)
    stated = _read_stated(folder / CONFIG)
    named = replace(find_architecture(config.architecture), cfg=config.pretrained_cfg)
    read = place(read_weights(file, file.name), named, config.model_args, name)
    if read.network.num_classes != config.num_classes:
        raise ImportRejected(
            "weights_unfit",
            f"The {CONFIG} of {name} says {config.num_classes} classes, and its weights have a classifier of "
            f"{read.network.num_classes or 'none'}. Correct num_classes in it.",
        )
    labels = config.pretrained_cfg.get("label_names")
    return replace(
        read,
        route=f"timm's folder: {read.route}",
        input_size=config.preprocessing.input_size,
        facts=_list_facts(stated, config),
        pretrained_cfg={key: value for key, value in config.pretrained_cfg.items() if key in KEPT},
        labels=list(labels) if labels else None,
        licence=config.pretrained_cfg.get("license"),
        read=[CONFIG, file.name],
    )


def _find_one(folder: Path, name: str) -> Path:
    """Find the one file of weights under another name."""
    found = [file for file in sorted(folder.iterdir()) if file.suffix in (".safetensors", ".bin", ".pth", ".pt")]
    if len(found) != 1:
        shown = ", ".join(file.name for file in found) or "none"
        raise ImportRejected(
            "weights_missing", f"{name} has a {CONFIG}, and {shown} where one file of weights belongs: {WEIGHTS[0]}."
        )
    return found[0]


def _read_stated(file: Path) -> dict[str, Any]:
    """Read what the configuration itself states, without the defaults of the architecture."""
    content = json.loads(file.read_text(encoding="utf-8"))
    stated = content.get("pretrained_cfg", content)
    return stated if isinstance(stated, dict) else {}


def _list_facts(stated: Mapping[str, Any], config: BackboneConfig) -> PreprocessingFacts:
    """List the preprocessing that the folder states; what timm would take by default is not stated."""
    own = config.preprocessing
    values: dict[str, Any] = {fact: getattr(own, fact) for fact in FACTS if stated.get(fact) is not None}
    for fact in values.keys() & {"mean", "std"}:
        values[fact] = values[fact] * (3 // len(values[fact]))
    if stated.get("input_size") is not None:
        values["input_size"] = own.input_size
    return PreprocessingFacts(**values, channel_order="rgb")
