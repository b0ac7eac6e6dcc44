"""Render deterministic views of an image: view 0 is the evaluation view, the others are augmented."""

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

TORCH_INTERPOLATIONS = ("bilinear", "bicubic")
"""Interpolations that torch has with antialiasing."""
RENDERING_VERSION = 2
"""Version of the pixels that augmentations give: increase it when they change, since cached features are stale then."""


class Views:
    """Renders images for one backbone. View 0 is timm's evaluation transform, before normalization.

    Unless `exact`, torch resizes instead of Pillow: three times as fast, and no channel of a pixel differs by more than
    2 of 255.
    """

    def __init__(
        self, preprocessing: Preprocessing, augmentations: Sequence[ImageAugmentation], *, exact: bool = False
    ) -> None:
        self.preprocessing = preprocessing
        is_quick = (
            preprocessing.interpolation in TORCH_INTERPOLATIONS and preprocessing.crop_mode != "border" and not exact
        )
        self.resizer = "torch" if is_quick else "pillow"
        self._size = preprocessing.input_size[1:]
        # In the prefetcher's form the transform ends in bytes; normalization follows on the device.
        transform = create_transform(**preprocessing.to_dict(), is_training=False, use_prefetcher=True)
        *self._geometry, _ = transform.transforms
        self._before_resize = [a for a in augmentations if a.before_resize]
        self._after_resize = [a for a in augmentations if not a.before_resize]
        policy = [augmentation.model_dump(mode="json") for augmentation in augmentations]
        self.policy = hashlib.sha256(json.dumps([RENDERING_VERSION, policy], sort_keys=True).encode()).digest()
        """SHA-256 of the augmentations, on which all views but view 0 depend."""

    def render(self, image: Image.Image, digest: bytes, view: int) -> np.ndarray:
        """Render a view of an upright RGB image with this digest, as uint8 of shape (3, H, W)."""
        if view == 0:
            return _to_array(self._resize_and_crop(image))
        random = self._seed_generator(digest, view)
        for augmentation in self._before_resize:
            image = augmentation.apply(image, random)
        image = self._stretch(image) if self._before_resize else self._resize_and_crop(image)
        for augmentation in self._after_resize:
            image = augmentation.apply(image, random)
        return _to_array(image)

    def _seed_generator(self, digest: bytes, view: int) -> np.random.Generator:
        seed = hashlib.sha256(self.policy + view.to_bytes(4, "little") + digest).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(seed[:16], "little")))

    def _resize_and_crop(self, image: Image.Image) -> Image.Image:
        for step in self._geometry:
            image = self._resize(image, step.size) if self._is_resized_by_torch(step) else step(image)
        return image

    def _is_resized_by_torch(self, step: object) -> bool:
        return self.resizer == "torch" and isinstance(step, Resize)

    def _stretch(self, image: Image.Image) -> Image.Image:
        height, width = self._size
        if self.resizer == "torch":
            return self._resize(image, [height, width])
        return image.resize((width, height), str_to_pil_interp(self.preprocessing.interpolation))

    def _resize(self, image: Image.Image, size: int | list[int]) -> Image.Image:
        """Resize an image by torch to a shorter side, or to both sides."""
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        mode = InterpolationMode(self.preprocessing.interpolation)
        resized = resize(pixels, size, mode, antialias=True)  # in bytes, as Pillow does
        return Image.fromarray(resized.permute(1, 2, 0).numpy())


def _to_array(image: Image.Image) -> np.ndarray:
    return np.asarray(image).transpose(2, 0, 1)
