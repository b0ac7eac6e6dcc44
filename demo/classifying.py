"""A downloaded checkpoint in use, with nothing but timm and safetensors."""

from __future__ import annotations

import json
import random
import tarfile
import zipfile
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import timm
import torch
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.torch import load_file
from timm.data import create_transform, resolve_data_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    Reader = Callable[[str], IO[bytes] | None]


def classify(checkpoint: Path, dataset: Path, count: int) -> list[tuple[str, str, float]]:
    """Of so many images of the dataset: name, class and probability, as the checkpoint says."""
    with safe_open(checkpoint, "pt") as file:
        said = file.metadata()
    network = timm.create_model(
        said["architecture"], num_classes=int(said["num_classes"]), **json.loads(said["model_args"])
    )
    network.load_state_dict(load_file(checkpoint))
    transform = create_transform(**resolve_data_config(json.loads(said["pretrained_cfg"])))
    classes = json.loads(said["class_names"])
    chosen = some_images(dataset, count)
    with torch.inference_mode():
        shown = torch.stack([transform(image) for _, image in chosen])
        probabilities = network.eval()(shown).softmax(1)
    return [
        (name, classes[int(row.argmax())], float(row.max()))
        for (name, _), row in zip(chosen, probabilities, strict=True)
    ]


def some_images(dataset: Path, count: int) -> list[tuple[str, Image.Image]]:
    """So many images of a folder or an archive, upright RGB, always the same; what is no image is passed over."""
    with _files(dataset) as (names, read):
        shown = sorted(name for name in names if not _is_hidden(name))
        random.Random(3).shuffle(shown)
        images = ((name, _image(read(name))) for name in shown)
        return list(islice(((name, image) for name, image in images if image is not None), count))


@contextmanager
def _files(dataset: Path) -> Iterator[tuple[list[str], Reader]]:
    """The names of all files, and what opens one of them."""
    if dataset.is_dir():
        paths = [path for path in dataset.rglob("*") if path.is_file()]
        yield [str(path.relative_to(dataset)) for path in paths], lambda name: (dataset / name).open("rb")
    elif zipfile.is_zipfile(dataset):
        with zipfile.ZipFile(dataset) as zipped:
            yield zipped.namelist(), zipped.open
    else:
        with tarfile.open(dataset) as tarred:
            yield tarred.getnames(), tarred.extractfile


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePath(name).parts)


def _image(file: IO[bytes] | None) -> Image.Image | None:
    if file is None:  # a folder of a tar
        return None
    with file:
        try:
            return ImageOps.exif_transpose(Image.open(file)).convert("RGB")
        except Exception:  # Pillow's readers raise whatever a broken file leads them to
            return None
