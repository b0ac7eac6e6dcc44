"""Views: deterministic renderings of an image. View 0 is the plain evaluation view, the others are augmented."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from timm.data import create_transform
from timm.data.transforms import str_to_pil_interp
from torchvision.transforms import InterpolationMode, Resize
from torchvision.transforms.v2.functional import resize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.catalog.image_ops import ImageAugmentation
    from models.images.preprocessing import Preprocessing

TORCHS = ("bilinear", "bicubic")
"""Interpolations that torch has, antialiased."""
RENDERING = 2
"""To be raised where the same augmentations come to render other pixels: what was cached of them is stale then."""


class Views:
    """Renders images for one backbone. View 0 is timm's evaluation transform, before normalization.

    Where it need not be `exact`, to the bit, torch resizes instead of Pillow: three times as fast, and no number of a
    pixel differs by more than 2 of 255.
    """

    def __init__(
        self, preprocessing: Preprocessing, augmentations: Sequence[ImageAugmentation], *, exact: bool = False
    ) -> None:
        self.preprocessing = preprocessing
        is_quick = preprocessing.interpolation in TORCHS and preprocessing.crop_mode != "border" and not exact
        self.resizer = "torch" if is_quick else "pillow"
        self._size = preprocessing.input_size[1:]
        # In the prefetcher's form the transform ends in bytes; normalization follows on the device.
        plain = create_transform(**preprocessing.to_dict(), is_training=False, use_prefetcher=True)
        *self._geometry, _ = plain.transforms
        self._parts = [a for a in augmentations if a.before_resize]
        self._changes = [a for a in augmentations if not a.before_resize]
        policy = [augmentation.model_dump(mode="json") for augmentation in augmentations]
        self.policy = hashlib.sha256(json.dumps([RENDERING, policy], sort_keys=True).encode()).digest()
        """What views other than 0 depend on beside the image."""

    def render(self, image: Image.Image, digest: bytes, view: int) -> np.ndarray:
        """The view of an upright RGB image with this digest, as uint8 of shape (3, H, W)."""
        if view == 0:
            return _array(self._plain(image))
        random = self._random(digest, view)
        for part in self._parts:
            image = part.apply(image, random)
        image = self._stretched(image) if self._parts else self._plain(image)
        for change in self._changes:
            image = change.apply(image, random)
        return _array(image)

    def _random(self, digest: bytes, view: int) -> np.random.Generator:
        seed = hashlib.sha256(self.policy + view.to_bytes(4, "little") + digest).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(seed[:16], "little")))

    def _plain(self, image: Image.Image) -> Image.Image:
        for step in self._geometry:
            image = self._resized(image, step.size) if self._is_torchs(step) else step(image)
        return image

    def _is_torchs(self, step: object) -> bool:
        return self.resizer == "torch" and isinstance(step, Resize)

    def _stretched(self, image: Image.Image) -> Image.Image:
        height, width = self._size
        if self.resizer == "torch":
            return self._resized(image, [height, width])
        return image.resize((width, height), str_to_pil_interp(self.preprocessing.interpolation))

    def _resized(self, image: Image.Image, size: int | list[int]) -> Image.Image:
        """By torch: it takes the shorter side, or both."""
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        mode = InterpolationMode(self.preprocessing.interpolation)
        resized = resize(pixels, size, mode, antialias=True)  # in bytes, as Pillow does
        return Image.fromarray(resized.permute(1, 2, 0).numpy())


def _array(image: Image.Image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1)
