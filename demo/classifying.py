"""Classify images with a downloaded checkpoint; needs timm, safetensors and the extra `graft[images]` only."""

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
from safetensors import safe_open
from safetensors.torch import load_file
from timm.data import create_transform, resolve_data_config

from graft.images import BadImage, open_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import IO

    from PIL import Image

    Reader = Callable[[str], IO[bytes] | None]


def classify(checkpoint: Path, dataset: Path, count: int) -> list[tuple[str, str, float]]:
    """Classify a sample of the dataset's images: name, class and probability of each."""
    with safe_open(checkpoint, "pt") as file:
        metadata = file.metadata()
    network = timm.create_model(
        metadata["architecture"], num_classes=int(metadata["num_classes"]), **json.loads(metadata["model_args"])
    )
    network.load_state_dict(load_file(checkpoint))
    transform = create_transform(**resolve_data_config(json.loads(metadata["pretrained_cfg"])))
    classes = json.loads(metadata["class_names"])
    chosen = sample_images(dataset, metadata, count)
    with torch.inference_mode():
        shown = torch.stack([transform(image) for _, image in chosen])
        probabilities = network.eval()(shown).softmax(1)
    return [
        (name, classes[int(row.argmax())], float(row.max()))
        for (name, _), row in zip(chosen, probabilities, strict=True)
    ]


def sample_images(dataset: Path, metadata: Mapping[str, str], count: int) -> list[tuple[str, Image.Image]]:
    """Sample images from a folder or an archive, opened by a checkpoint's metadata, always the same ones.

    Other files are skipped.
    """
    with _open_files(dataset) as (names, read):
        shown = sorted(name for name in names if not _is_hidden(name))
        random.Random(3).shuffle(shown)
        images = ((name, _read_image(read(name), metadata)) for name in shown)
        return list(islice(((name, image) for name, image in images if image is not None), count))


@contextmanager
def _open_files(dataset: Path) -> Iterator[tuple[list[str], Reader]]:
    """Open a folder or an archive; yields the names of its files, and a function that opens one."""
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


def _read_image(file: IO[bytes] | None, metadata: Mapping[str, str]) -> Image.Image | None:
    if file is None:  # a folder of a tar
        return None
    with file:
        try:
            return open_image(file, metadata)
        except BadImage:
            return None
