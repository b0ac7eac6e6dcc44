"""Splits: which images to train on, to validate on and to test on.

Decided class by class by the images' content alone: in the order of their digests, which is as good as random, the
first go to the test, the next to validation, the rest is trained on. So the split is the same for everybody, and a
image added later moves hardly any other. Splits that the dataset brings are kept.

An image of several classes counts for each of them, and the rarest class chooses first (iterative stratification,
Sechidis et al., 2011); there, an image added later moves a few in a hundred.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.datasets.errors import DatasetRejected, some_of
from models.datasets.pack import SPLIT_CODES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.datasets.pack import Entry

_FREE, _TRAIN, _VALIDATION, _TEST = range(len(SPLIT_CODES))


@dataclass(frozen=True)
class Split:
    """Places of images in the dataset, int64 arrays in ascending order."""

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
    """Split images with these digests (all different), labels and given splits (numbers in SPLIT_CODES).

    labels: the class of each image, (n,), or multi-hot, (n, C), where an image may have several.

    A part that the dataset does not bring is carved from what is free, and else from the training images. Each
    class keeps at least one image to train on, then one to validate on where it has two, then one to test on where
    it has three. An image is carved only if all of its classes keep as much: where no image of a class can be
    spared so, the class lacks that part.
    """
    several = [np.flatnonzero(row).tolist() for row in labels] if labels.ndim == 2 else labels[:, None].tolist()
    return _split(digests, several, given, validation_fraction, test_fraction)


def _split(
    digests: Sequence[bytes],
    labels: Sequence[Sequence[int]],
    given: np.ndarray,
    validation_fraction: float,
    test_fraction: float,
) -> Split:
    parts = np.where(_may_train(given), _TRAIN, given)
    members: dict[int, list[int]] = {}
    for image in sorted(range(len(digests)), key=digests.__getitem__):
        for label in labels[image]:
            members.setdefault(label, []).append(image)
    for part, fraction, keep in ((_TEST, test_fraction, 2), (_VALIDATION, validation_fraction, 1)):
        if (given == part).any():
            continue
        carving = _Carving(labels, np.flatnonzero(parts == _TRAIN), keep)
        wanted = {label: max(1, round(len(images) * fraction)) for label, images in members.items()}
        parts[carving.carve(members, wanted)] = part
    return Split(*(np.flatnonzero(parts == part) for part in (_TRAIN, _VALIDATION, _TEST)))


class _Carving:
    """Taking a part from the images to train on, of which each class keeps at least `keep`."""

    def __init__(self, labels: Sequence[Sequence[int]], training: np.ndarray, keep: int) -> None:
        self.labels, self.training, self.keep = labels, set(training.tolist()), keep
        self.left = Counter(label for image in self.training for label in labels[image])

    def carve(self, members: Mapping[int, Sequence[int]], wanted: Mapping[int, int]) -> list[int]:
        """Take as many images as each class wants, the rarest class first, each time the first of its `members`.

        Those all of whose classes want more come before the others.
        """
        self.wanted = Counter(wanted)
        carved = []
        for label in sorted(members, key=lambda label: (self.left[label], label)):
            for may_be_taken in (self.is_wanted, self.can_be_spared):
                for image in filter(may_be_taken, members[label]):
                    if self.wanted[label] <= 0:
                        break
                    self.take(image)
                    carved.append(image)
        return carved

    def can_be_spared(self, image: int) -> bool:
        """Whether all its classes keep enough to train on."""
        return image in self.training and all(self.left[label] > self.keep for label in self.labels[image])

    def is_wanted(self, image: int) -> bool:
        """Whether all its classes want more."""
        return self.can_be_spared(image) and all(self.wanted[label] > 0 for label in self.labels[image])

    def take(self, image: int) -> None:
        """Count it as taken."""
        self.training.remove(image)
        self.left.subtract(self.labels[image])
        self.wanted.subtract(self.labels[image])


def _may_train(given: np.ndarray) -> np.ndarray:
    """Which images a class may be trained on."""
    return np.isin(given, (_FREE, _TRAIN))


def check(entries: Sequence[Entry], classes: Sequence[str]) -> None:
    """Raises DatasetRejected where `split` cannot leave each class an image to train on, or any to validate on.

    That does not depend on the fractions, as long as each image has one class or each class two images: of what
    can be spared, at least one image is carved.
    """
    given = np.array([SPLIT_CODES.index(entry.split) for entry in entries])
    may_train = zip(entries, _may_train(given), strict=True)
    trained = Counter(label for entry, may in may_train if may for label in entry.labels)
    untrained = [name for label, name in enumerate(classes) if not trained[label]]
    if untrained:
        raise DatasetRejected(
            "nothing_to_train_on",
            f"All images of {some_of(untrained)} are given to validate or to test on. "
            "Put some of their own in the training split (a copy stays where it is tested), or leave them out.",
        )
    digests, labels = [entry.digest for entry in entries], [entry.labels for entry in entries]
    if not len(_split(digests, labels, given, 0.0, 0.0).validation):
        alone = [name for label, name in enumerate(classes) if trained[label] == 1]
        raise DatasetRejected(
            "nothing_to_validate_on",
            f"Each image to train on is the only one of a class ({some_of(alone)}), so none can be spared to "
            "validate on. Add images to the training split, or give a validation split.",
        )
