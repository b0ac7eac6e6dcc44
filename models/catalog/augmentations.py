"""Augmentations: random changes of a picture that leave its label true.

Each draws all its randomness from the generator it is given, so that a view is the same on every machine.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.catalog.technique import Technique

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, le=1.0)]


class Crop(Technique):
    """A random part of the picture, of random area and aspect ratio, stretched to the input (Szegedy et al., 2015)."""

    before_resize: ClassVar[bool] = True
    kind: Literal["crop"] = "crop"
    min_area: Annotated[float, Field(gt=0.0, le=1.0)] = 0.35
    """Smallest share of the picture's area that is kept."""
    max_aspect: Annotated[float, Field(ge=1.0, le=4.0)] = 4 / 3
    """Width to height lies between 1/max_aspect and max_aspect, uniformly in its logarithm."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """The part of `image`."""
        area = image.width * image.height * random.uniform(self.min_area, 1.0)
        limit = math.log(self.max_aspect)
        aspect = math.exp(random.uniform(-limit, limit))
        width = min(image.width, max(1, round(math.sqrt(area * aspect))))
        height = min(image.height, max(1, round(math.sqrt(area / aspect))))
        left = int(random.integers(0, image.width - width + 1))
        top = int(random.integers(0, image.height - height + 1))
        return image.crop((left, top, left + width, top + height))


class HorizontalFlip(Technique):
    """The mirror image, with some probability (Krizhevsky et al., 2012)."""

    before_resize: ClassVar[bool] = False
    kind: Literal["horizontal_flip"] = "horizontal_flip"
    probability: Probability = 0.5
    """How often a view is mirrored."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """`image` or its mirror image."""
        from PIL import Image

        if random.random() >= self.probability:
            return image
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


class Colour(Technique):
    """Brightness, contrast and saturation, each times a factor from [1 - strength, 1 + strength] (Howard, 2013)."""

    before_resize: ClassVar[bool] = False
    kind: Literal["colour"] = "colour"
    brightness: Strength = 0.2
    """Strength for brightness."""
    contrast: Strength = 0.2
    """Strength for contrast."""
    saturation: Strength = 0.2
    """Strength for saturation."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """`image` in other colours."""
        from PIL import ImageEnhance

        changes = (
            (ImageEnhance.Brightness, self.brightness),
            (ImageEnhance.Contrast, self.contrast),
            (ImageEnhance.Color, self.saturation),
        )
        for enhance, strength in changes:
            image = enhance(image).enhance(random.uniform(1 - strength, 1 + strength))
        return image


class Rotate(Technique):
    """A turn about the centre by an angle from [-degrees, degrees]; corners that open show the mean colour."""

    before_resize: ClassVar[bool] = False
    kind: Literal["rotate"] = "rotate"
    degrees: Annotated[float, Field(gt=0.0, le=180.0)] = 15.0
    """Largest angle."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """`image`, turned."""
        from PIL import Image, ImageStat

        mean = tuple(round(value) for value in ImageStat.Stat(image).mean)
        angle = random.uniform(-self.degrees, self.degrees)
        return image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=mean)


Augmentation = Annotated[Crop | HorizontalFlip | Colour | Rotate, Field(discriminator="kind")]
