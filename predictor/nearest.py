"""Nearest training images: those whose features in the feature cache are most like an image's, by cosine similarity."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.datasets.splits import split
from models.features.row_index import MISSING
from predictor.dataset_images import PackUnreadable
from service.checkpoints import blobs, repository
from service.checkpoints.errors import CheckpointNotFound
from service.tables import Dataset, Job

if TYPE_CHECKING:
    from models.datasets.pack import Pack
    from models.features.store import FeatureStore
    from predictor.dataset_images import DatasetImages
    from predictor.trunk import LoadedTrunk
    from service.database import Database

MOST_BYTES = 128 << 20
"""Memory that the features of one training may take; of more images, evenly chosen ones are compared."""
MOST_READ = 1 << 30
"""Bytes of rows that are read of one training; those of a cut far below the head are large."""
MOST_KEPT = 4
"""Trainings whose features stay in memory; jobs with the same training images and rows share them."""
BLOCK = 4096
"""Rows that are compared together, in single precision."""
NO_ROWS = (
    "The feature cache of the predictor's machine has no features of its training images: it was trained elsewhere or "
    "without the cache, or they had to make room. Train it here again, and they are cached."
)


@dataclass(frozen=True)
class Training:
    """Location of a checkpoint's training images, and of their features."""

    dataset: str
    classes: tuple[str, ...]
    fractions: tuple[float, float]
    """Shares of the validation and test images, which say with the images themselves which are neither."""
    engine: str
    precision: str
    device: str

    @classmethod
    def read(cls, database: Database, checkpoint: str) -> Training | None:
        """Read it from the checkpoint's metadata; None where the checkpoint or its dataset was deleted."""
        with database.reading() as session:
            try:
                row = repository.get(session, checkpoint)
            except CheckpointNotFound:
                return None
            job = session.get(Job, row.job_id)
            dataset = None if job is None else session.get(Dataset, job.dataset_id)
            metadata = blobs.read_metadata(session, row)
        if dataset is None:
            return None
        recipe = json.loads(metadata["recipe"])
        return cls(
            dataset.id,
            tuple(entry["name"] for entry in dataset.classes),
            (recipe["validation_fraction"], recipe["test_fraction"]),
            recipe["engine"],
            recipe["precision"],
            metadata.get("device", "cpu"),
        )


@dataclass(frozen=True)
class TrainingFeatures:
    """Features of training images, in memory."""

    images: np.ndarray
    """Their positions in the dataset, (n,)."""
    features: np.ndarray
    """Pooled, of length 1, (n, D) float16."""
    count: int
    """Training images that there are."""

    def find(self, features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the images that are most like one of these features (D,): their positions and similarities, (count,)."""
        query = normalize(features[None])[0]
        starts = range(0, len(self.features), BLOCK)
        blocks = [self.features[start : start + BLOCK].astype(np.float32) @ query for start in starts]
        similarities = np.concatenate(blocks)
        order = np.argsort(-similarities, kind="stable")[:count]
        return self.images[order], similarities[order]


class NearestImages:
    """Finds nearest training images; used by one thread."""

    def __init__(self, database: Database, datasets: DatasetImages) -> None:
        self._database, self._datasets = database, datasets
        self._kept: OrderedDict[tuple[str, Training], TrainingFeatures] = OrderedDict()

    def find(self, checkpoint: str, trunk: LoadedTrunk, values: np.ndarray, count: int) -> dict[str, Any]:
        """Find the training images of a checkpoint that are most like an image with these values at the cut."""
        training = Training.read(self._database, checkpoint)
        if training is None:
            return _miss("Its dataset was deleted.")
        try:
            opened = self._datasets.open(training.dataset)
        except PackUnreadable:
            return _miss("The predictor cannot read its dataset from the storage; its log says why.")
        if opened is None:
            return _miss("Its dataset was deleted.")
        pack, key = opened.pack, (trunk.key, training)
        if key not in self._kept:
            found = _read(trunk, training, pack)
            if not len(found.images):
                return _miss(NO_ROWS, found.count)
            self._kept[key] = found
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        kept = self._kept[key]
        images, similarities = kept.find(pool(values[None])[0], count)
        return {
            "data": [
                _describe(training, pack, image, similarity)
                for image, similarity in zip(images.tolist(), similarities.tolist(), strict=True)
            ],
            "compared": len(kept.images),
            "training_images": kept.count,
            "reason": None,
        }


def pool(rows: np.ndarray) -> np.ndarray:
    """Average rows over their positions: (n, D), (n, positions, D), (n, D, H, W) or (n, H, W, D) → (n, D) float32."""
    values = rows.astype(np.float32)
    if values.ndim == 4:
        has_channels_last = values.shape[1] == values.shape[2] != values.shape[3]
        averaged: np.ndarray = values.mean((1, 2) if has_channels_last else (2, 3))
        return averaged
    return values.mean(1) if values.ndim == 3 else values


def normalize(features: np.ndarray) -> np.ndarray:
    """Divide features (n, D) by their lengths."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    normalized: np.ndarray = features / np.maximum(lengths, 1e-12)
    return normalized


def _read(trunk: LoadedTrunk, training: Training, pack: Pack) -> TrainingFeatures:
    """Read the features of the training images that the cache has."""
    labels = pack.encode_targets(len(training.classes)) if pack.is_multi_label else pack.labels
    images = split(pack.lossless_digests, labels, pack.splits, *training.fractions).train
    store = trunk.open_training_rows(training.engine, training.precision, training.device)
    numbers = store.find(pack.digests[images], 0)
    there = np.flatnonzero(numbers != MISSING)
    there = there[_choose_evenly(len(there), _count_most(store))]
    parts = [
        normalize(pool(store.read(numbers[there[start : start + BLOCK]]))).astype(np.float16)
        for start in range(0, len(there), BLOCK)
    ]
    features = np.concatenate(parts) if parts else np.zeros((0, 1), np.float16)
    return TrainingFeatures(images[there], features, len(images))


def _count_most(store: FeatureStore) -> int:
    """Count how many rows may be read, and kept in memory."""
    row = int(np.prod(store.shape))
    size: int = pool(np.zeros((1, *store.shape), np.float16)).shape[1]
    return max(1, min(MOST_READ // (row * int(store.dtype.itemsize)), MOST_BYTES // (2 * size)))


def _choose_evenly(count: int, most: int) -> np.ndarray:
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).astype(np.int64)


def _describe(training: Training, pack: Pack, image: int, similarity: float) -> dict[str, Any]:
    digest = pack.digests[image].tobytes().hex()
    return {
        "dataset": training.dataset,
        "digest": digest,
        "file": pack.names[image],
        "labels": [training.classes[label] for label in pack.list_labels(image)],
        "similarity": min(similarity, 1.0),
        "url": f"/v1/datasets/{training.dataset}/images/{digest}",
    }


def _miss(reason: str, training_images: int | None = None) -> dict[str, Any]:
    return {"data": [], "compared": 0, "training_images": training_images, "reason": reason}
