"""A downloaded checkpoint in use, with nothing but timm and safetensors."""

from __future__ import annotations

import json
import random
import tarfile
import zipfile
from typing import TYPE_CHECKING, TypeVar

import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from timm.data import create_transform, resolve_data_config

if TYPE_CHECKING:
    from pathlib import Path
    from typing import IO

T = TypeVar("T")

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def classify(checkpoint: Path, dataset: Path, count: int) -> list[tuple[str, str, float]]:
    """Of so many pictures of the dataset: name, class and probability, as the checkpoint says."""
    with safe_open(checkpoint, "pt") as file:
        said = file.metadata()
    network = timm.create_model(
        said["architecture"], num_classes=int(said["num_classes"]), **json.loads(said["model_args"])
    )
    network.load_state_dict(load_file(checkpoint))
    transform = create_transform(**resolve_data_config(json.loads(said["pretrained_cfg"])))
    classes = json.loads(said["class_names"])
    chosen = _some(dataset, count)
    with torch.inference_mode():
        shown = torch.stack([transform(image.convert("RGB")) for _, image in chosen])
        probabilities = network.eval()(shown).softmax(1)
    return [
        (name, classes[int(row.argmax())], float(row.max()))
        for (name, _), row in zip(chosen, probabilities, strict=True)
    ]


def _some(dataset: Path, count: int) -> list[tuple[str, Image.Image]]:
    """So many pictures of a folder or an archive, always the same."""
    if dataset.is_dir():
        paths = sorted(path for path in dataset.rglob("*") if path.suffix.lower() in PICTURES)
        return [(str(path.relative_to(dataset)), Image.open(path)) for path in _chosen(paths, count)]
    if zipfile.is_zipfile(dataset):
        with zipfile.ZipFile(dataset) as archive:
            return [(name, _read(archive.open(name))) for name in _chosen(_pictures(archive.namelist()), count)]
    with tarfile.open(dataset) as archive:
        names = _chosen(_pictures(archive.getnames()), count)
        return [(name, _read(file)) for name in names if (file := archive.extractfile(name))]


def _pictures(names: list[str]) -> list[str]:
    return sorted(name for name in names if name.lower().endswith(PICTURES))


def _chosen(items: list[T], count: int) -> list[T]:
    return random.Random(3).sample(items, min(count, len(items)))


def _read(file: IO[bytes]) -> Image.Image:
    with file:
        image = Image.open(file)
        image.load()
    return image
