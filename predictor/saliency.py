"""Saliency: which parts of an image speak for a class, as a PNG to be laid over the image."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from models.networks.saliency import compute_saliency
from models.runtime.devices import translate_errors

if TYPE_CHECKING:
    import torch

    from models.images.preprocessing import Preprocessing
    from predictor.heads import Model
    from predictor.trunk import LoadedTrunk

MOST_PIXELS = 512
"""Longest side of the PNG."""
RED = (255, 0, 0)


def draw_saliency(
    trunk: LoadedTrunk, model: Model, pixels: np.ndarray, size: tuple[int, int], class_index: int | None
) -> bytes:
    """Draw the saliency map of an image: a PNG in its proportions, red where it speaks for a class, else transparent.

    Args:
        trunk: below the model.
        model: whose answer is explained.
        pixels: the image as the trunk takes it, (3, H, W) uint8.
        size: width and height of the upright image.
        class_index: number of the class; None for the most probable one.

    Raises MemoryError.
    """

    def score(value: torch.Tensor) -> torch.Tensor:
        logits = model.compute(value)[0]
        chosen = logits[int(logits.argmax()) if class_index is None else class_index]
        # What all classes have in common changes no probability, unless each has one of its own.
        return chosen if model.is_multi_label else chosen - logits.mean()

    with translate_errors():
        inputs = trunk.trunk.to_input(pixels[None])
        found = compute_saliency(trunk.trunk.network, score, inputs).cpu().numpy()
    return _draw(found, size, find_region(trunk.preprocessing, *size))


def find_region(preprocessing: Preprocessing, width: int, height: int) -> tuple[float, float]:
    """Find the region of an image that a network sees, as timm's evaluation transform crops it.

    Returns its width and height as shares of the image's; it lies in the middle. More than 1 where the image is padded.
    """
    _, rows, columns = preprocessing.input_size
    scaled = [int(side / preprocessing.crop_pct) for side in (columns, rows)]
    scales = [scaled[0] / width, scaled[1] / height]
    if preprocessing.crop_mode != "squash":
        scales = [min(scales) if preprocessing.crop_mode == "border" else max(scales)] * 2
    return columns / (width * scales[0]), rows / (height * scales[1])


def _draw(found: np.ndarray, size: tuple[int, int], region: tuple[float, float]) -> bytes:
    """Draw a map of a region in the middle of an image of this size."""
    most = float(found.max())
    strength = np.round(255 * found / most if most > 0 else 0 * found).astype(np.uint8)
    factor = min(1.0, MOST_PIXELS / max(size))
    width, height = (max(1, round(side * factor)) for side in size)
    seen = (max(1, round(width * region[0])), max(1, round(height * region[1])))
    opacity = Image.new("L", (width, height))
    scaled = Image.fromarray(strength).resize(seen, Image.Resampling.BILINEAR)
    opacity.paste(scaled, ((width - seen[0]) // 2, (height - seen[1]) // 2))
    drawn = Image.new("RGB", (width, height), RED)
    drawn.putalpha(opacity)
    file = io.BytesIO()
    drawn.save(file, "PNG")
    return file.getvalue()
