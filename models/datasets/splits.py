"""Stratified train, validation and test splits that depend on the images' content alone.

In each class, images are ordered by their digests, which is as good as random: the first go to the test split, the
next to the validation split, the rest to the training split. So the split is the same on every machine, and an image
added later moves hardly any other. Splits that the dataset gives are kept.

An image of several classes counts for each of them, and the rarest class comes first (iterative stratification,
Sechidis et al., 2011); there, an image added later moves a few in a hundred. Images without labels, in a multi-label
dataset, are split as those of one class.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.datasets.errors import DatasetRejected, join_names
from models.datasets.names import find_alike
from models.datasets.pack import SPLIT_CODES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.datasets.pack import Entry

_FREE, _TRAIN, _VALIDATION, _TEST, _UNLABELLED = range(len(SPLIT_CODES))
_NO_LABEL = -1
"""Class of the images without labels, which are split as those of any class."""


@dataclass(frozen=True)
class Split:
    """Indices of images in the dataset, int64 arrays in ascending order."""

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

    A split that the dataset does not give is selected from images without one and from training images. Each class
    keeps at least one training image, then gets one validation image if it has two, then one test image if it has
    three. An image is selected only if all of its classes keep enough training images: a class in which there is no
    such image lacks that split.
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
    assigned = np.where(_is_training(given), _TRAIN, given)
    members: dict[int, list[int]] = {}
    for image in sorted(range(len(digests)), key=digests.__getitem__):
        for label in labels[image] or [_NO_LABEL]:
            members.setdefault(label, []).append(image)
    for name, fraction, keep in ((_TEST, test_fraction, 2), (_VALIDATION, validation_fraction, 1)):
        if (given == name).any():
            continue
        selection = _Selection(labels, np.flatnonzero(assigned == _TRAIN), keep)
        quotas = {label: max(1, round(len(images) * fraction)) for label, images in members.items()}
        assigned[selection.select(members, quotas)] = name
    return Split(*(np.flatnonzero(assigned == name) for name in (_TRAIN, _VALIDATION, _TEST)))


class _Selection:
    """Selects a split from the training images, of which each class keeps at least `keep`."""

    def __init__(self, labels: Sequence[Sequence[int]], training: np.ndarray, keep: int) -> None:
        self.labels = [of_one or [_NO_LABEL] for of_one in labels]
        self.training, self.keep = set(training.tolist()), keep
        self.left = Counter(label for image in self.training for label in self.labels[image])

    def select(self, members: Mapping[int, Sequence[int]], quotas: Mapping[int, int]) -> list[int]:
        """Select as many images as each class's quota, the rarest class first, in the order of its `members`.

        Images all of whose classes are below their quotas come before the others.
        """
        self.open = Counter(quotas)
        selected = []
        for label in sorted(members, key=lambda label: (self.left[label], label)):
            for is_eligible in (self.is_below_quotas, self.is_spare):
                for image in filter(is_eligible, members[label]):
                    if self.open[label] <= 0:
                        break
                    self.take(image)
                    selected.append(image)
        return selected

    def is_spare(self, image: int) -> bool:
        """Tell whether all classes of an image keep enough training images without it."""
        return image in self.training and all(self.left[label] > self.keep for label in self.labels[image])

    def is_below_quotas(self, image: int) -> bool:
        """Tell whether an image is spare and all its classes are below their quotas."""
        return self.is_spare(image) and all(self.open[label] > 0 for label in self.labels[image])

    def take(self, image: int) -> None:
        """Remove an image from the training images, and from the counts of its classes."""
        self.training.remove(image)
        self.left.subtract(self.labels[image])
        self.open.subtract(self.labels[image])


def _is_training(given: np.ndarray) -> np.ndarray:
    """Mask the images that the dataset gives no split or the training split."""
    return np.isin(given, (_FREE, _TRAIN))


def check_splits(entries: Sequence[Entry], classes: Sequence[str]) -> None:
    """Raise DatasetRejected if `split` leaves a class without training images, or no validation images at all.

    This does not depend on the fractions, as long as each image has one class or each class two images: at least one
    of the spare images is selected.
    """
    given = np.array([SPLIT_CODES.index(entry.split) for entry in entries])
    is_training = zip(entries, _is_training(given), strict=True)
    trained = Counter(label for entry, training in is_training if training for label in entry.labels)
    untrained = [name for label, name in enumerate(classes) if not trained[label]]
    if untrained:
        alike = find_alike(classes)
        note = "" if set(alike).isdisjoint(untrained) else f" Written alike, but different: {join_names(alike)}."
        raise DatasetRejected(
            "nothing_to_train_on",
            f"All images of {join_names(untrained)} are in the validation or test split. Put other images of each into "
            "the training split (copies of validation or test images do not count), or leave the class out."
            f"{note}",
        )
    digests, labels = [entry.digest for entry in entries], [entry.labels for entry in entries]
    if not len(_split(digests, labels, given, 0.0, 0.0).validation):
        alone = [name for label, name in enumerate(classes) if trained[label] == 1]
        raise DatasetRejected(
            "nothing_to_validate_on",
            f"Each training image is the only one of a class ({join_names(alone)}), so that none is left to validate "
            "on. Add images to the training split, or add a validation split.",
        )
