"""Augmentations: random changes of an image that leave its label true.

Each draws all its randomness from the generator it is given, so that a view is the same on every machine.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.catalog.auto_augment import RandAugment, TrivialAugment
from models.catalog.image_ops import ImageAugmentation, mean_colour, part_size, scaled, shifted, turned
from models.catalog.mixup import CutMix, FeatureNoise, Mixup
from models.catalog.technique import by_name

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Area = Annotated[float, Field(gt=0.0, le=1.0)]
Factor = Annotated[float, Field(ge=0.1, le=10.0)]
Sigma = Annotated[float, Field(gt=0.0, le=100.0)]


class Crop(ImageAugmentation):
    """A random part of the image, of random area and aspect ratio, stretched to the input (Szegedy et al., 2015)."""

    before_resize: ClassVar[bool] = True
    kind: Literal["crop"] = "crop"
    min_area: Area = 0.35
    """Smallest share of the image's area that is kept."""
    max_aspect: Annotated[float, Field(ge=1.0, le=4.0)] = 4 / 3
    """Width to height lies between 1/max_aspect and max_aspect, uniformly in its logarithm, or as near as fits."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """The part of `image`."""
        width, height = part_size(image, random.uniform(self.min_area, 1.0), self.max_aspect, random)
        left = int(random.integers(0, image.width - width + 1))
        top = int(random.integers(0, image.height - height + 1))
        return image.crop((left, top, left + width, top + height))


class HorizontalFlip(ImageAugmentation):
    """The mirror image, with some probability (Krizhevsky et al., 2012)."""

    kind: Literal["horizontal_flip"] = "horizontal_flip"
    probability: Probability = 0.5
    """How often a view is mirrored."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """`image` or its mirror image."""
        from PIL import Image

        if random.random() >= self.probability:
            return image
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


class Colour(ImageAugmentation):
    """Brightness, contrast and saturation, each times a factor from [1 - strength, 1 + strength] (Howard, 2013)."""

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


class Rotate(ImageAugmentation):
    """A turn by θ about the centre, θ ~ U(-degrees, degrees); corners that open show the mean colour."""

    kind: Literal["rotate"] = "rotate"
    degrees: Annotated[float, Field(gt=0.0, le=180.0)] = 15.0
    """Largest angle."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """`image`, turned."""
        return turned(image, random.uniform(-self.degrees, self.degrees))


class Shift(ImageAugmentation):
    """x ← x + (dx, dy), each uniform in [-share, share] of its side, whole pixels (Simard et al., 2003)."""

    kind: Literal["shift"] = "shift"
    horizontal: Share = 0.1
    """Largest dx, as a share of the width."""
    vertical: Share = 0.1
    """Largest dy, as a share of the height."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """`image`, moved; what opens shows the mean colour."""
        sides = ((image.width, self.horizontal), (image.height, self.vertical))
        right, down = (round(side * random.uniform(-share, share)) for side, share in sides)
        return shifted(image, right, down)


class Resize(ImageAugmentation):
    """x ← c + s·(x - c) about the centre c, log s uniform in [log min_factor, log max_factor]: a zoom in or out."""

    kind: Literal["resize"] = "resize"
    min_factor: Factor = 0.8
    """Smallest s; below 1 the image shrinks, within its frame."""
    max_factor: Factor = 1.25
    """Largest s; above 1 the image grows, and its margins are lost."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """`image`, scaled; what opens shows the mean colour."""
        return scaled(image, math.exp(random.uniform(math.log(self.min_factor), math.log(self.max_factor))))


class VerticalFlip(ImageAugmentation):
    """x[i, j] ← x[height - 1 - i, j], with some probability: true where up and down mean nothing, as from above."""

    kind: Literal["vertical_flip"] = "vertical_flip"
    probability: Probability = 0.5
    """How often a view is turned upside down."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """`image` or its mirror image."""
        from PIL import Image

        if random.random() >= self.probability:
            return image
        return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)


class Grayscale(ImageAugmentation):
    """Red, green, blue ← 0.299·red + 0.587·green + 0.114·blue, with some probability (Chen et al., 2020)."""

    kind: Literal["grayscale"] = "grayscale"
    probability: Probability = 0.2
    """How often a view loses its colours."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """`image` or its shades of grey."""
        if random.random() >= self.probability:
            return image
        return image.convert("L").convert("RGB")


class Blur(ImageAugmentation):
    """A Gaussian blur, sigma uniform in [min_sigma, max_sigma], with some probability (Chen et al., 2020)."""

    kind: Literal["blur"] = "blur"
    min_sigma: Sigma = 0.1
    """Smallest standard deviation, in pixels of the network's input."""
    max_sigma: Sigma = 2.0
    """Largest standard deviation."""
    probability: Probability = 0.5
    """How often a view is blurred."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """`image` or its blur."""
        from PIL import ImageFilter

        if random.random() >= self.probability:
            return image
        # torchvision's takes up to three times as long, and its convolution rounds differently from machine to machine.
        return image.filter(ImageFilter.GaussianBlur(random.uniform(self.min_sigma, self.max_sigma)))


class Erase(ImageAugmentation):
    """A random rectangle shows nothing of the image: random erasing, with some probability (Zhong et al., 2020)."""

    kind: Literal["erase"] = "erase"
    probability: Probability = 0.5
    """How often a part is erased."""
    min_area: Area = 0.02
    """Smallest share of the image's area that is erased."""
    max_area: Area = 0.4
    """Largest share of the image's area that is erased."""
    max_aspect: Annotated[float, Field(ge=1.0, le=10.0)] = 10 / 3
    """Width to height lies between 1/max_aspect and max_aspect, uniformly in its logarithm, or as near as fits."""
    fill: Literal["noise", "mean"] = "noise"
    """What the rectangle shows: random pixels or the image's mean colour."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """`image`, whole or in part."""
        if random.random() >= self.probability:
            return image
        width, height = part_size(image, random.uniform(self.min_area, self.max_area), self.max_aspect, random)
        left = int(random.integers(0, image.width - width + 1))
        top = int(random.integers(0, image.height - height + 1))
        # torchvision's erase goes through a tensor, and takes ten times as long.
        erased = image.copy()
        erased.paste(self._patch(image, width, height, random), (left, top))
        return erased

    def _patch(self, image: Image.Image, width: int, height: int, random: np.random.Generator) -> Image.Image:
        from PIL import Image

        if self.fill == "mean":
            return Image.new("RGB", (width, height), mean_colour(image))
        return Image.frombytes("RGB", (width, height), random.bytes(width * height * 3))


class Perspective(ImageAugmentation):
    """The image seen aslant: corners move inwards by distortion/2·(u·width, v·height), u and v uniform in [0, 1]."""

    kind: Literal["perspective"] = "perspective"
    distortion: Share = 0.5
    """How far corners move: 0 not at all, at 1 all could meet in the centre."""
    probability: Probability = 0.5
    """How often a view is aslant."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """`image`, straight or aslant; what opens shows the mean colour."""
        from torchvision.transforms.v2 import functional

        if random.random() >= self.probability:
            return image
        right, bottom = image.width - 1, image.height - 1
        corners = [[0, 0], [right, 0], [right, bottom], [0, bottom]]
        farthest = (int(self.distortion * image.width / 2), int(self.distortion * image.height / 2))
        inwards = random.integers(0, farthest, (4, 2), endpoint=True).tolist()
        ends = [[abs(x - dx), abs(y - dy)] for (x, y), (dx, dy) in zip(corners, inwards, strict=True)]
        aslant: Image.Image = functional.perspective(
            image, corners, ends, functional.InterpolationMode.BILINEAR, fill=mean_colour(image)
        )
        return aslant


Augmentation = Annotated[
    Crop
    | Shift
    | Rotate
    | Resize
    | HorizontalFlip
    | VerticalFlip
    | Colour
    | Grayscale
    | Blur
    | Erase
    | Perspective
    | TrivialAugment
    | RandAugment
    | Mixup
    | CutMix
    | FeatureNoise,
    Field(discriminator="kind"),
    by_name("crop"),
]
