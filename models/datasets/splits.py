"""Splits: which pictures to train on, to validate on and to test on.

Decided class by class by the pictures' content alone: in the order of their digests, which is as good as random, the
first go to the test, the next to validation, the rest is trained on. So the split is the same for everybody, and a
picture added later moves hardly any other. Splits that the dataset brings are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.datasets.errors import DatasetRejected, some_of
from models.datasets.pack import SPLIT_CODES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.datasets.pack import Entry

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
    parts = np.where(_may_train(given), _TRAIN, given)
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


def _may_train(given: np.ndarray) -> np.ndarray:
    """Which pictures a class may be trained on."""
    return np.isin(given, (_FREE, _TRAIN))


def check(entries: Sequence[Entry], classes: Sequence[str]) -> None:
    """Raises DatasetRejected where `split` cannot leave each class a picture to train on, or any to validate on.

    That does not depend on the fractions: of each class that can spare a picture, at least one is carved.
    """
    given = np.array([SPLIT_CODES.index(entry.split) for entry in entries])
    trained = {label for entry, may in zip(entries, _may_train(given), strict=True) if may for label in entry.labels}
    untrained = [name for label, name in enumerate(classes) if label not in trained]
    if untrained:
        raise DatasetRejected(
            "nothing_to_train_on",
            f"All pictures of {some_of(untrained)} are given to validate or to test on. "
            "Put some of their own in the training split (a copy stays where it is tested), or leave them out.",
        )
    labels = np.array([entry.labels[0] for entry in entries])
    if not len(split([entry.digest for entry in entries], labels, given, 0.0, 0.0).validation):
        raise DatasetRejected(
            "nothing_to_validate_on",
            f"Each class ({some_of(classes)}) has one picture to train on and can spare none to validate on. "
            "Add pictures to the training split, or give a validation split.",
        )
