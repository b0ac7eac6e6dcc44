"""Image operations that several augmentations share: rotate, shift, scale, shear."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import model_validator

from models.catalog.technique import Technique

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


class ImageAugmentation(Technique):
    """Base of augmentations of one RGB image: `apply(image, random)` returns an image of the same size, crops excepted.

    All randomness comes from `random`, and `image` itself is not changed.
    """

    before_resize: ClassVar[bool] = False

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """Return a changed copy of `image`."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _ranges_are_not_empty(self) -> Self:
        fields = type(self).model_fields
        for low in (name for name in fields if name.startswith("min_")):
            high = low.replace("min_", "max_", 1)
            if high in fields and getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} is above {high}; lower {low} or raise {high}")
        return self


def compute_mean_colour(image: Image.Image) -> tuple[int, ...]:
    """Compute the mean colour of an image, which fills gaps."""
    from PIL import ImageStat

    return tuple(round(value) for value in ImageStat.Stat(image).mean)


def draw_part_size(image: Image.Image, share: float, max_aspect: float, random: np.random.Generator) -> tuple[int, int]:
    """Draw width and height of a part with this share of the image's area and a random aspect ratio.

    width/height is log-uniform in [1/max_aspect, max_aspect], limited to what fits into the image.
    """
    own = image.width / image.height
    narrowest, widest = own * share, own / share  # as high, or as wide, as the image
    low, high = (min(max(limit, narrowest), widest) for limit in (1 / max_aspect, max_aspect))
    aspect = math.exp(random.uniform(math.log(low), math.log(high)))
    area = image.width * image.height * share
    width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    return min(max(1, width), image.width), min(max(1, height), image.height)


def rotate(image: Image.Image, degrees: float) -> Image.Image:
    """Rotate an image counter-clockwise about its centre."""
    from PIL import Image

    return image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=compute_mean_colour(image))


def shift(image: Image.Image, right: int, down: int) -> Image.Image:
    """Shift an image by whole pixels."""
    from PIL import Image

    # The same pixels as torchvision's affine, in a tenth of its time.
    frame = Image.new(image.mode, image.size, compute_mean_colour(image))
    frame.paste(image, (right, down))
    return frame


def scale(image: Image.Image, factor: float) -> Image.Image:
    """Zoom an image about its centre; its size stays."""
    return _affine(image, scale=factor, shear=[0.0, 0.0], center=None)


def shear(image: Image.Image, horizontal: float, vertical: float) -> Image.Image:
    """Shear an image about its upper left corner by angles with these tangents."""
    degrees = [math.degrees(math.atan(tangent)) for tangent in (horizontal, vertical)]
    return _affine(image, scale=1.0, shear=degrees, center=[0, 0])


def _affine(image: Image.Image, *, scale: float, shear: list[float], center: list[int] | None) -> Image.Image:
    from torchvision.transforms.v2 import functional

    changed: Image.Image = functional.affine(
        image,
        angle=0.0,
        translate=[0, 0],
        scale=scale,
        shear=shear,
        interpolation=functional.InterpolationMode.BILINEAR,
        fill=compute_mean_colour(image),
        center=center,
    )
    return changed
