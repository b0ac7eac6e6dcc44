"""Pretext tasks: rotations of images, or the labels of another dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field

from models.catalog.image_ops import ImageAugmentation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.catalog.recipe import Recipe
    from models.features.sources import FeatureSource
    from models.pretraining.pretrain import Material

TURNS = (
    None,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
)
"""Pillow's names of quarter turns, counter-clockwise."""


class PretextTask:
    """Images with labels to pretrain on."""

    classes: Sequence[str]
    words: str
    """Description of the labels, for messages."""
    views_at_once: int
    """Views of an image that a batch holds, one after another."""

    def __len__(self) -> int:
        """Count the images."""
        raise NotImplementedError

    def batches(self, places: torch.Tensor, epoch: int, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Iterate over batches of the images at these indices: values at the cut and labels (B,), B about `size`."""
        raise NotImplementedError


class QuarterTurns(ImageAugmentation):
    """Quarter-turn rotation of the largest centred square, stretched back to the image's size."""

    kind: Literal["quarters"] = "quarters"
    turns: Annotated[int, Field(ge=0, le=3)]

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """Rotate the image; `random` is not used."""
        side = min(image.size)
        left, upper = (image.width - side) // 2, (image.height - side) // 2
        square = image.crop((left, upper, left + side, upper + side))
        rotation = TURNS[self.turns]
        turned = square if rotation is None else square.transpose(rotation)
        return turned.resize(image.size, Image.Resampling.BILINEAR)


class RotationTask(PretextTask):
    """Predict how an image was rotated (Gidaris et al., 2018). A batch holds each image in all four rotations."""

    classes = ("0°", "90°", "180°", "270°")
    words = "the rotations of the images"
    views_at_once = 4

    def __init__(self, material: Material) -> None:
        self._images = material.examples.images
        self._sources = [material.open_source((QuarterTurns(turns=turns),)) for turns in range(4)]

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, places: torch.Tensor, epoch: int, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Iterate over batches of size / 4 of these images, each in its four rotations one after another."""
        images = self._images[places.numpy()]
        source = self._sources[0]
        views = [_view(turns, source) for turns in range(4)]
        walks = [
            source.read_batches(images, view, max(1, size // 4))
            for source, view in zip(self._sources, views, strict=True)
        ]
        for turned in zip(*walks, strict=True):
            rows = np.stack([rows for _, rows in turned], 1)
            given = source.to_input(rows.reshape(-1, *rows.shape[2:]))
            yield source.forward_trunk(given), torch.arange(4).repeat(len(rows))


def _view(turns: int, source: FeatureSource) -> int:
    """Number of the view that shows a rotation; the plain view of a square input is already the first one."""
    _, height, width = source.views.preprocessing.input_size
    return 0 if turns == 0 and height == width else 1


class OtherLabelsTask(PretextTask):
    """Predict the labels of another dataset."""

    words = "the labels of the other dataset"
    views_at_once = 1

    def __init__(self, material: Material, recipe: Recipe) -> None:
        self.classes = material.classes
        self._examples, self._views = material.examples, recipe.cache.first
        self._source = material.open_source(recipe.image_augmentations)

    def __len__(self) -> int:
        return len(self._examples.images)

    def batches(self, places: torch.Tensor, epoch: int, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Iterate over batches of the images at these indices, in the view of the epoch."""
        source, order = self._source, places.numpy()
        walk = source.read_batches(self._examples.images[order], source.choose_view(epoch, self._views), size)
        labels = torch.from_numpy(self._examples.labels[order])
        for (_, rows), known in zip(walk, torch.split(labels, size), strict=True):
            yield source.forward_trunk(source.to_input(rows)), known
