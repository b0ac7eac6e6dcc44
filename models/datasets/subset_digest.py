"""Digest of a part of a dataset: the same wherever the same images have the same labels."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def compute_digest(digests: Sequence[bytes], labels: np.ndarray, classes: Sequence[str]) -> str:
    """Compute the SHA-256, in hex, of images and their labels, in any order.

    Args:
        digests: of the images, with all bits of their pixels.
        labels: (n,), or multi-hot (n, C).
        classes: the names of all classes, of which the labels are numbers.
    """
    numbers = [np.flatnonzero(row) for row in labels] if labels.ndim == 2 else labels[:, None]
    named = [sorted(classes[int(number)] for number in of_image) for of_image in numbers]
    items = sorted((digest.hex(), names) for digest, names in zip(digests, named, strict=True))
    return hashlib.sha256(json.dumps(items).encode()).hexdigest()
