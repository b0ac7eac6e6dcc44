"""A pack and a trunk that are small enough for tests of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from models.backbones.backbone import Preprocessing
from models.datasets.archive import Limits
from models.datasets.pack import Pack, write_index
from models.datasets.validation import validate
from tests.pictures import coloured_classes, write_zip

if TYPE_CHECKING:
    from pathlib import Path

PREPROCESSING = Preprocessing((3, 16, 16), "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 1.0, "center")


class Corner(nn.Module):
    """A trunk of 12 features: the mean colours of four corners."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(pictures, 2).flatten(1)


def small_pack(folder: Path, classes: int, each: int) -> Pack:
    """A pack of coloured pictures."""
    archive = write_zip(folder / "small.zip", coloured_classes(classes, each))
    with archive.open("rb") as file, (folder / "small.pack").open("wb") as pack:
        validated = validate(file, pack, Limits(1 << 30, 10_000))
    with (folder / "small.index").open("wb") as index:
        write_index(index, validated.entries)
    return Pack(folder / "small.pack", folder / "small.index")
