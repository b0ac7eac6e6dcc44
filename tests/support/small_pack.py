"""A pack and a trunk that are small enough for tests of training."""

from __future__ import annotations

import io
from itertools import combinations
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import nn

from models.datasets.archives import Limits
from models.datasets.pack import Pack, write_index
from models.datasets.validation import validate
from models.images.preprocessing import Preprocessing
from tests.support.images import coloured, coloured_classes, encoded, write_zip

if TYPE_CHECKING:
    from pathlib import Path

PREPROCESSING = Preprocessing((3, 16, 16), "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 1.0, "center")


class Corner(nn.Module):
    """Trunk of 12 features: the mean colours of four corners."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


def small_pack(folder: Path, classes: int, each: int, pairs: int = 0) -> Pack:
    """Write a pack of coloured images: `each` of every class, and `pairs` of every two classes, half in each colour."""
    files = coloured_classes(classes, each)
    if pairs:
        files = _with_pairs(files, classes, each, pairs)
    return packed(write_zip(folder / "small.zip", files))


def packed(archive: Path) -> Pack:
    """Validate an archive as the service does; gives the pack beside it."""
    with archive.open("rb") as file, archive.with_suffix(".pack").open("wb") as pack:
        validated = validate(file, pack, Limits(1 << 30, 10_000))
    with archive.with_suffix(".index").open("wb") as index:
        write_index(index, validated.entries, validated.decoding)
    return Pack(archive.with_suffix(".pack"), archive.with_suffix(".index"))


def _with_pairs(files: dict[str, bytes], classes: int, each: int, pairs: int) -> dict[str, bytes]:
    names = list(dict.fromkeys(path.split("/")[0] for path in files))
    rows = [f"{path},{path.split('/')[0]}" for path in files]
    halves = {}
    for left, right in combinations(range(classes), 2):
        for number in range(pairs):
            path = f"pairs/{names[left]}_{names[right]}_{number:03}.png"
            halves[path] = _half_and_half(coloured(left, each + number), coloured(right, each + number))
            rows.append(f"{path},{names[left]}|{names[right]}")
    return {**files, **halves, "labels.csv": "\n".join(["file,label", *rows]).encode()}


def _half_and_half(left: bytes, right: bytes) -> bytes:
    image, other = Image.open(io.BytesIO(left)), Image.open(io.BytesIO(right))
    middle = image.width // 2
    image.paste(other.crop((middle, 0, *other.size)), (middle, 0))
    return encoded(image)
