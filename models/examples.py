"""Examples: pictures with their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Examples:
    """Pictures, by their places in the dataset, an array (n,), with their labels: (n,), or (n, C) where several."""

    pictures: np.ndarray
    labels: np.ndarray
