"""Rows of a feature store by the numbers of their images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.features.row_index import MISSING
from models.features.shard import RECORD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from models.features.store import FeatureStore


def digests(numbers: Iterable[int]) -> np.ndarray:
    """Make digests of images by number, (n,) of 32 bytes."""
    return np.frombuffer(b"".join(number.to_bytes(32, "big") for number in numbers), "V32")


def missing(store: FeatureStore, numbers: Iterable[int], view: int = 0) -> list[int]:
    """List the images, of these, that have no row."""
    numbers = list(numbers)
    found = store.find(digests(numbers), view)
    return [number for number, row in zip(numbers, found, strict=True) if row == MISSING]


def read(store: FeatureStore, numbers: Iterable[int], view: int = 0) -> np.ndarray:
    """Read the rows of these images."""
    found = store.find(digests(numbers), view)
    assert (found != MISSING).all()
    return store.read(found)


def numbers_on_disk(store: FeatureStore) -> list[int]:
    """List the images that have a record, whole or not, in the files of a store."""
    records = [np.fromfile(file, RECORD) for file in store.folder.glob("*.index")]
    return [int.from_bytes(digest, "big") for of_one in records for digest in of_one["digest"].tolist()]
