"""Splits: which pictures to train on, to validate on and to test on.

Decided class by class by the pictures' content alone: in the order of their digests, which is as good as random, the
first go to the test, the next to validation, the rest is trained on. So the split is the same for everybody, and a
picture added later moves hardly any other. Splits that the dataset brings are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.datasets.pack import SPLIT_CODES

if TYPE_CHECKING:
    from collections.abc import Sequence

_FREE, _TRAIN, _VALIDATION, _TEST = range(len(SPLIT_CODES))


@dataclass(frozen=True)
class Split:
    """Places of pictures in the dataset, int64 arrays in ascending order."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split(
    digests: Sequence[bytes],
    labels: np.ndarray,
    given: np.ndarray,
    validation_fraction: float,
    test_fraction: float,
) -> Split:
    """Split pictures with these digests (all different), labels and given splits (numbers in SPLIT_CODES).

    A part that the dataset does not bring is carved from what is free, and else from the training pictures. Each
    class keeps at least one picture to train on, then one to validate on where it has two, then one to test on where
    it has three.
    """
    parts = np.where(given == _FREE, _TRAIN, given)
    for part, fraction, keep in ((_TEST, test_fraction, 2), (_VALIDATION, validation_fraction, 1)):
        if (given == part).any():
            continue
        for label in np.unique(labels):
            of_class = np.flatnonzero((labels == label) & (parts == _TRAIN))
            whole = np.count_nonzero(labels == label)
            wanted = max(1, round(whole * fraction))
            count = max(0, min(wanted, len(of_class) - keep))
            ranked = sorted(of_class.tolist(), key=digests.__getitem__)
            parts[ranked[:count]] = part
    return Split(*(np.flatnonzero(parts == part) for part in (_TRAIN, _VALIDATION, _TEST)))
