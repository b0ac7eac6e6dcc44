"""Augmentations: random changes of images, batches or features that keep the labels true.

Each image augmentation draws all its randomness from the generator passed to it, so that a view is the same on every
machine.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.catalog.auto_augment import RandAugment, TrivialAugment
from models.catalog.image_ops import ImageAugmentation, compute_mean_colour, draw_part_size, rotate, scale, shift
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
    """Random resized crop: a part of random area and aspect ratio, resized to the input (Szegedy et al., 2015)."""

    before_resize: ClassVar[bool] = True
    kind: Literal["crop"] = "crop"
    min_area: Area = 0.35
    """Smallest share of the image's area to keep, above 0 and up to 1."""
    max_aspect: Annotated[float, Field(ge=1.0, le=4.0)] = 4 / 3
    """Largest aspect ratio: width/height is log-uniform in [1/max_aspect, max_aspect], limited to what fits."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """Cut a random part out of `image`."""
        width, height = draw_part_size(image, random.uniform(self.min_area, 1.0), self.max_aspect, random)
        left = int(random.integers(0, image.width - width + 1))
        top = int(random.integers(0, image.height - height + 1))
        return image.crop((left, top, left + width, top + height))


class HorizontalFlip(ImageAugmentation):
    """Random left-right flip (Krizhevsky et al., 2012)."""

    kind: Literal["horizontal_flip"] = "horizontal_flip"
    probability: Probability = 0.5
    """Probability with which a view is flipped."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """Flip `image` left to right, or return it as it is."""
        from PIL import Image

        if random.random() >= self.probability:
            return image
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


class Colour(ImageAugmentation):
    """Colour jitter: brightness, contrast, saturation times factors ~ U(1 - strength, 1 + strength) (Howard, 2013)."""

    kind: Literal["colour"] = "colour"
    brightness: Strength = 0.2
    """Strength of the change in brightness; 0: none."""
    contrast: Strength = 0.2
    """Strength of the change in contrast; 0: none."""
    saturation: Strength = 0.2
    """Strength of the change in saturation; 0: none."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """Change brightness, contrast and saturation of `image`."""
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
    """Random rotation about the centre by θ ~ U(-degrees, degrees); empty corners take the image's mean colour."""

    kind: Literal["rotate"] = "rotate"
    degrees: Annotated[float, Field(gt=0.0, le=180.0)] = 15.0
    """Largest angle, in degrees."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """Rotate `image` by a random angle."""
        return rotate(image, random.uniform(-self.degrees, self.degrees))


class Shift(ImageAugmentation):
    """Random translation by whole pixels, x ← x + (dx, dy); gaps take the mean colour (Simard et al., 2003)."""

    kind: Literal["shift"] = "shift"
    horizontal: Share = 0.1
    """Largest shift to the left or right, as a share of the width."""
    vertical: Share = 0.1
    """Largest shift up or down, as a share of the height."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """Shift `image` by a random number of pixels; gaps take its mean colour."""
        sides = ((image.width, self.horizontal), (image.height, self.vertical))
        right, down = (round(side * random.uniform(-share, share)) for side, share in sides)
        return shift(image, right, down)


class Resize(ImageAugmentation):
    """Random zoom about the centre c: x ← c + s·(x - c), log s ~ U(log min_factor, log max_factor)."""

    kind: Literal["resize"] = "resize"
    min_factor: Factor = 0.8
    """Smallest factor s; below 1 the image shrinks, and the margin takes its mean colour."""
    max_factor: Factor = 1.25
    """Largest factor s; above 1 the image grows, and its margins are cut off."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """Zoom `image` by a random factor; gaps take its mean colour."""
        return scale(image, math.exp(random.uniform(math.log(self.min_factor), math.log(self.max_factor))))


class VerticalFlip(ImageAugmentation):
    """Random upside-down flip, x[i, j] ← x[height - 1 - i, j]: for images without an up, such as aerial photographs."""

    kind: Literal["vertical_flip"] = "vertical_flip"
    probability: Probability = 0.5
    """Probability with which a view is flipped."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """Flip `image` upside down, or return it as it is."""
        from PIL import Image

        if random.random() >= self.probability:
            return image
        return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)


class Grayscale(ImageAugmentation):
    """Random greyscale: red, green, blue ← 0.299·red + 0.587·green + 0.114·blue (Chen et al., 2020)."""

    kind: Literal["grayscale"] = "grayscale"
    probability: Probability = 0.2
    """Probability with which a view loses its colours."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """Turn `image` into shades of grey, or return it as it is."""
        if random.random() >= self.probability:
            return image
        return image.convert("L").convert("RGB")


class Blur(ImageAugmentation):
    """Random Gaussian blur, sigma ~ U(min_sigma, max_sigma) (Chen et al., 2020)."""

    kind: Literal["blur"] = "blur"
    min_sigma: Sigma = 0.1
    """Smallest standard deviation, in pixels of the network's input."""
    max_sigma: Sigma = 2.0
    """Largest standard deviation, in pixels of the network's input."""
    probability: Probability = 0.5
    """Probability with which a view is blurred."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """Blur `image`, or return it as it is."""
        from PIL import ImageFilter

        if random.random() >= self.probability:
            return image
        # torchvision's is up to three times slower, and its convolution rounds differently from machine to machine.
        return image.filter(ImageFilter.GaussianBlur(random.uniform(self.min_sigma, self.max_sigma)))


class Erase(ImageAugmentation):
    """Random erasing: a random rectangle of the image is covered (Zhong et al., 2020)."""

    kind: Literal["erase"] = "erase"
    probability: Probability = 0.5
    """Probability with which a rectangle is erased."""
    min_area: Area = 0.02
    """Smallest share of the image's area to erase."""
    max_area: Area = 0.4
    """Largest share of the image's area to erase."""
    max_aspect: Annotated[float, Field(ge=1.0, le=10.0)] = 10 / 3
    """Largest aspect ratio: width/height is log-uniform in [1/max_aspect, max_aspect], limited to what fits."""
    fill: Literal["noise", "mean"] = "noise"
    """Content of the rectangle: random pixels (noise), or the image's mean colour (mean)."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """Erase a random rectangle of `image`, or return it as it is."""
        if random.random() >= self.probability:
            return image
        width, height = draw_part_size(image, random.uniform(self.min_area, self.max_area), self.max_aspect, random)
        left = int(random.integers(0, image.width - width + 1))
        top = int(random.integers(0, image.height - height + 1))
        # torchvision's erase goes through a tensor, and takes ten times as long.
        erased = image.copy()
        erased.paste(self._patch(image, width, height, random), (left, top))
        return erased

    def _patch(self, image: Image.Image, width: int, height: int, random: np.random.Generator) -> Image.Image:
        from PIL import Image

        if self.fill == "mean":
            return Image.new("RGB", (width, height), compute_mean_colour(image))
        return Image.frombytes("RGB", (width, height), random.bytes(width * height * 3))


class Perspective(ImageAugmentation):
    """Random perspective: each corner moves inwards by distortion/2·(u·width, v·height), u, v ~ U(0, 1)."""

    kind: Literal["perspective"] = "perspective"
    distortion: Share = 0.5
    """Largest movement of the corners; 0: none; at 1 all four could meet in the centre."""
    probability: Probability = 0.5
    """Probability with which a view is distorted."""

    def apply(self, image: Image.Image, random: np.random.Generator) -> Image.Image:
        """Distort `image`, or return it as it is; gaps take its mean colour."""
        from torchvision.transforms.v2 import functional

        if random.random() >= self.probability:
            return image
        right, bottom = image.width - 1, image.height - 1
        corners = [[0, 0], [right, 0], [right, bottom], [0, bottom]]
        farthest = (int(self.distortion * image.width / 2), int(self.distortion * image.height / 2))
        inwards = random.integers(0, farthest, (4, 2), endpoint=True).tolist()
        ends = [[abs(x - dx), abs(y - dy)] for (x, y), (dx, dy) in zip(corners, inwards, strict=True)]
        distorted: Image.Image = functional.perspective(
            image, corners, ends, functional.InterpolationMode.BILINEAR, fill=compute_mean_colour(image)
        )
        return distorted


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
