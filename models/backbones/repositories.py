"""Backbones of the Hub's repositories, hf/ORG/REPO[@REVISION]: networks of timm, and of transformers, converted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from models.backbones import converted, local
from models.backbones.config import BackboneConfig
from models.backbones.errors import FileMissing, WeightsUnsafe
from models.backbones.hub import Repository
from models.backbones.structure import CONFIG
from models.conversion import errors, transformers_files

if TYPE_CHECKING:
    from pathlib import Path

    from models.backbones.backbone import Backbone


def load(name: str, side: int | None, commit: str | None = None) -> Backbone:
    """Load hf/ORG/REPO[@REVISION] with its weights, for images of this longer side or its own, at a pinned commit.

    Raises BackboneError, InputSizeUnsupported.
    """
    repository, folder = _download_config(name, commit)
    if _is_of_transformers(folder):
        folder = converted.prepare(repository, side)
        backbone = local.load_folder(BackboneConfig.from_folder(name, folder), folder, None)
        return replace(backbone, revision=repository.revision)
    config = BackboneConfig.from_folder(name, folder)
    try:
        repository.download(local.WEIGHTS)
    except FileMissing as error:
        raise WeightsUnsafe(
            f"{name} has no {local.WEIGHTS}; weights in other formats may run code and are not read. "
            "Convert them to safetensors, or choose another backbone."
        ) from error
    return replace(local.load_folder(config, folder, side), revision=repository.revision)


def read_config(name: str) -> BackboneConfig:
    """Read the configuration of hf/ORG/REPO[@REVISION]; a network of transformers is converted for it.

    Raises BackboneError.
    """
    repository, folder = _download_config(name, None)
    if _is_of_transformers(folder):
        folder = converted.prepare(repository, None)
    return BackboneConfig.from_folder(name, folder)


def _download_config(name: str, commit: str | None) -> tuple[Repository, Path]:
    """Download a repository's config.json; returns the repository at its commit, and the folder of the commit."""
    repository = Repository.from_name(name, commit)
    try:
        folder = repository.download(CONFIG)
    except FileMissing as error:
        raise WeightsUnsafe(
            f"{name} has no {CONFIG} that describes a network of timm or transformers, and other files may run code. "
            "Choose another backbone, or export the network as ONNX and send it to POST /v1/backbones."
        ) from error
    return repository.pin(folder.name), folder


def _is_of_transformers(folder: Path) -> bool:
    try:
        return transformers_files.is_config(transformers_files.read_json(folder / CONFIG))
    except errors.FileBroken:  # timm's reading of it explains why
        return False
