"""Automatic augmentation policies: random operations from a fixed list, with little or nothing to tune."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field

from models.catalog.image_ops import ImageAugmentation, rotate, shear, shift

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from PIL import Image

BINS = 31
"""Number of magnitudes of an operation, evenly spaced from 0 to the largest."""


class Operation(NamedTuple):
    """An image operation with a magnitude."""

    largest: float
    is_signed: bool
    """Makes the magnitude negative half of the time."""
    change: Callable[[Image.Image, float], Image.Image]


def build_operations(
    *, tangent: float, width: float, height: float, degrees: float, colour: float, bits: float
) -> dict[str, Operation]:
    """Build the operations of both policies, by torchvision's names.

    Args:
        tangent: largest tangent of the shear angle.
        width: largest translation sideways, in pixels.
        height: largest translation up or down, in pixels.
        degrees: largest rotation.
        colour: largest distance of a colour factor from 1.
        bits: most of the eight bits of a channel that may be dropped.
    """
    from torchvision.transforms.v2 import functional as f

    return {
        "Identity": Operation(0.0, False, lambda image, m: image),
        "ShearX": Operation(tangent, True, lambda image, m: shear(image, m, 0.0)),
        "ShearY": Operation(tangent, True, lambda image, m: shear(image, 0.0, m)),
        "TranslateX": Operation(width, True, lambda image, m: shift(image, int(m), 0)),
        "TranslateY": Operation(height, True, lambda image, m: shift(image, 0, int(m))),
        "Rotate": Operation(degrees, True, rotate),
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
    """TrivialAugment Wide: one random operation of 14 at one random magnitude of 31 (Müller & Hutter, 2021)."""

    kind: Literal["trivial_augment"] = "trivial_augment"

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """Apply one random operation at a random magnitude."""
        wide = build_operations(tangent=0.99, width=32.0, height=32.0, degrees=135.0, colour=0.99, bits=6)
        return _apply_random(image, wide, int(random.integers(BINS)), random)


class RandAugment(ImageAugmentation):
    """RandAugment: `num_ops` random operations of 14, all at one fixed magnitude (Cubuk et al., 2020)."""

    kind: Literal["rand_augment"] = "rand_augment"
    num_ops: Annotated[int, Field(ge=1, le=14)] = 2
    """Number of operations applied one after another to a view."""
    magnitude: Annotated[int, Field(ge=0, lt=BINS)] = 9
    """Magnitude of every operation, from 0 (weakest) to 30 (strongest)."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """Apply `num_ops` random operations one after another."""
        width, height = (150 / 331 * side for side in image.size)
        space = build_operations(tangent=0.3, width=width, height=height, degrees=30.0, colour=0.9, bits=4)
        for _ in range(self.num_ops):
            image = _apply_random(image, space, self.magnitude, random)
        return image


def _apply_random(
    image: Image.Image, space: Mapping[str, Operation], magnitude_bin: int, random: np.random.Generator
) -> Image.Image:
    operation = list(space.values())[random.integers(len(space))]
    magnitude = operation.largest * magnitude_bin / (BINS - 1)
    if operation.is_signed and random.random() < 0.5:
        magnitude = -magnitude
    return operation.change(image, magnitude)
