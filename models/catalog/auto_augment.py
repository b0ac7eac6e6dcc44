"""Policies: augmentations that draw one of many operations, so that nothing has to be tuned to the dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field

from models.catalog.image_ops import ImageAugmentation, sheared, shifted, turned

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from PIL import Image

BINS = 31
"""Magnitudes of an operation: evenly spaced, from 0 to the largest."""


class Operation(NamedTuple):
    """A change of an image that has a magnitude."""

    largest: float
    is_signed: bool
    """Whether the magnitude is turned negative half of the time."""
    change: Callable[[Image.Image, float], Image.Image]


def operations(
    *, shear: float, width: float, height: float, degrees: float, colour: float, bits: float
) -> dict[str, Operation]:
    """The operations of both policies, by torchvision's names.

    Args:
        shear: largest tangent of the angle by which the image is slanted.
        width: largest translation sideways, in pixels.
        height: largest translation up or down, in pixels.
        degrees: largest turn.
        colour: largest distance of a colour factor from 1.
        bits: how many of the eight bits of a channel are dropped at most.
    """
    from torchvision.transforms.v2 import functional as f

    return {
        "Identity": Operation(0.0, False, lambda image, m: image),
        "ShearX": Operation(shear, True, lambda image, m: sheared(image, m, 0.0)),
        "ShearY": Operation(shear, True, lambda image, m: sheared(image, 0.0, m)),
        "TranslateX": Operation(width, True, lambda image, m: shifted(image, int(m), 0)),
        "TranslateY": Operation(height, True, lambda image, m: shifted(image, 0, int(m))),
        "Rotate": Operation(degrees, True, turned),
        "Brightness": Operation(colour, True, lambda image, m: f.adjust_brightness(image, 1 + m)),
        "Color": Operation(colour, True, lambda image, m: f.adjust_saturation(image, 1 + m)),
        "Contrast": Operation(colour, True, lambda image, m: f.adjust_contrast(image, 1 + m)),
        "Sharpness": Operation(colour, True, lambda image, m: f.adjust_sharpness(image, 1 + m)),
        "Posterize": Operation(bits, False, lambda image, m: f.posterize(image, 8 - round(m))),
        "Solarize": Operation(1.0, False, lambda image, m: f.solarize(image, 255 * (1 - m))),
        "AutoContrast": Operation(0.0, False, lambda image, m: f.autocontrast(image)),
        "Equalize": Operation(0.0, False, lambda image, m: f.equalize(image)),
    }


class TrivialAugment(ImageAugmentation):
    """One operation of 14 at one magnitude of 31, drawn from the wide space (Müller & Hutter, 2021)."""

    kind: Literal["trivial_augment"] = "trivial_augment"

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """`image`, changed."""
        wide = operations(shear=0.99, width=32.0, height=32.0, degrees=135.0, colour=0.99, bits=6)
        return _changed(image, wide, int(random.integers(BINS)), random)


class RandAugment(ImageAugmentation):
    """`num_ops` operations of 14, drawn uniformly, all at the magnitude that is given (Cubuk et al., 2020)."""

    kind: Literal["rand_augment"] = "rand_augment"
    num_ops: Annotated[int, Field(ge=1, le=14)] = 2
    """Operations, one after the other."""
    magnitude: Annotated[int, Field(ge=0, lt=BINS)] = 9
    """Of every operation that has one: 0 is the least, 30 the most."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """`image`, changed."""
        width, height = (150 / 331 * side for side in image.size)
        space = operations(shear=0.3, width=width, height=height, degrees=30.0, colour=0.9, bits=4)
        for _ in range(self.num_ops):
            image = _changed(image, space, self.magnitude, random)
        return image


def _changed(
    image: Image.Image, space: Mapping[str, Operation], magnitude_bin: int, random: np.random.Generator
) -> Image.Image:
    operation = list(space.values())[random.integers(len(space))]
    magnitude = operation.largest * magnitude_bin / (BINS - 1)
    if operation.is_signed and random.random() < 0.5:
        magnitude = -magnitude
    return operation.change(image, magnitude)
