"""The range of pixels that a network takes, 0 to 255 or 0 to 1, by the normalization that it begins with."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

WHOLE_PIXELS = (1 / 400, 1 / 15)
"""Least and greatest slope of a normalization of pixels from 0 to 255: 1/255, 1/127.5, 1/(255·0.2), …."""
FRACTIONS = (1.5, 8.0)
"""Least and greatest slope of a normalization of pixels from 0 to 1: 2, 1/0.225, …."""
MEANS = (0.2, 0.8)
"""Means of images from 0 to 1 that a normalization subtracts."""
TOLERANCE = 0.02


def find_largest_pixel(slope: Sequence[float], shift: Sequence[float]) -> float | None:
    """Find the value of a white pixel, 255 or 1, if slope·x + shift, of each channel or of all, tells it.

    A factor alone does not: 1/0.225 also begins networks whose images had their mean subtracted before, and networks
    that take -1 to 1 and put them to ImageNet's deviation. The mean that is subtracted must be one of images in the
    range, or the result must be 0 to 1 itself.
    """
    count = max(len(slope), len(shift))
    pairs = list(zip(list(slope) * (count // len(slope)), list(shift) * (count // len(shift)), strict=True))
    if min(one for one, _ in pairs) <= 0.0:
        return None
    largest = _find_range(max(one for one, _ in pairs), max(abs(one) for _, one in pairs))
    if largest is None:
        return None
    is_unit = all(abs(one * largest - 1) <= TOLERANCE and abs(other) <= TOLERANCE for one, other in pairs)
    has_mean = all(MEANS[0] <= -other / (one * largest) <= MEANS[1] for one, other in pairs)
    return largest if has_mean or (is_unit and largest > 1.0) else None


def _find_range(slope: float, shift: float) -> float | None:
    if WHOLE_PIXELS[0] <= slope <= WHOLE_PIXELS[1] or (slope == 1.0 and 50 < shift < 200):
        return 255.0
    return 1.0 if FRACTIONS[0] <= slope <= FRACTIONS[1] else None
