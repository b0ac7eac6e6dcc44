"""Batch sizes of engines: fewer images at a time where images are large, so that a network's values stay in bounds."""

from __future__ import annotations

FULL_BATCH_PIXELS = 512 * 512
"""Most pixels of an image in a full batch: four times those of most networks' own size."""


def limit_batch_size(full: int, input_size: tuple[int, int, int]) -> int:
    """Limit the images in a batch, `full` at most, to the pixels of a full batch of 512x512 images.

    It depends on nothing but the size of the images: another batch size rounds differently.
    """
    _, height, width = input_size
    return max(1, min(full, full * FULL_BATCH_PIXELS // (height * width)))
