"""Examples: images with their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Subset:
    """Images, by their places in the dataset, an array (n,), with their labels: (n,), or (n, C) where several."""

    images: np.ndarray
    labels: np.ndarray
