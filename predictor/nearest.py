"""Nearest training images: those whose features in the feature cache are most like an image's, by cosine similarity."""

from __future__ import annotations

import json
import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from models.features.engines.selection import EngineConfig
from models.features.row_index import MISSING
from models.networks.saliency import find_position_axes
from models.pipeline.setup import split_pack
from predictor.dataset_images import PackUnreadable
from service.checkpoints import blobs, repository
from service.checkpoints.errors import CheckpointNotFound
from service.tables import Dataset, Job

if TYPE_CHECKING:
    from models.datasets.pack import Pack
    from predictor.dataset_images import DatasetImages
    from predictor.trunk import LoadedTrunk
    from service.database import Database

MOST_BYTES = 128 << 20
"""Memory that the features of one training may take; of more images, evenly chosen ones are compared."""
MOST_READ = 1 << 30
"""Bytes of rows that are read of one training; those of a cut far below the head are large."""
MOST_KEPT = 4
"""Trainings whose features stay in memory; jobs with the same training images and rows share them."""
BLOCK_BYTES = 32 << 20
"""Bytes of rows, in single precision, that are averaged or compared together."""
READ_AGAIN_SECONDS = 60.0
"""Time after which features that were missing are looked for again: a job may have cached them."""
NO_ROWS = (
    "The feature cache of the predictor's machine has no features of its training images: it was trained elsewhere or "
    "without the cache, or they had to make room. Train it here again, and they are cached."
)


@dataclass(frozen=True)
class Training:
    """Location of a checkpoint's training images, and of their features."""

    dataset: str
    classes: tuple[str, ...]
    validation_fraction: float
    test_fraction: float
    """With the images themselves, the fractions say which of them are training images."""
    engine: EngineConfig
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
            recipe["validation_fraction"],
            recipe["test_fraction"],
            EngineConfig(recipe["engine"], recipe["precision"]),
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
    stale_at: float = math.inf
    """Time from which on they are read again, by `time.monotonic`."""

    def find(self, features: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Find the images that are most like one of these features (D,): their positions and similarities, (count,)."""
        query = normalize(features[None])[0]
        step = max(1, BLOCK_BYTES // (4 * self.features.shape[1]))
        starts = range(0, len(self.features), step)
        similarities = np.concatenate(
            [self.features[start : start + step].astype(np.float32) @ query for start in starts]
        )
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
        kept = self._get(trunk, training, opened.pack)
        if not len(kept.images):
            return _miss(NO_ROWS, kept.count)
        images, similarities = kept.find(pool(values[None], _find_ratio(trunk))[0], count)
        return {
            "data": [
                _describe(training, opened.pack, image, similarity)
                for image, similarity in zip(images.tolist(), similarities.tolist(), strict=True)
            ],
            "compared": len(kept.images),
            "training_images": kept.count,
            "reason": None,
        }

    def _get(self, trunk: LoadedTrunk, training: Training, pack: Pack) -> TrainingFeatures:
        """Get the features of a training: those in memory, read again after a while where some were missing."""
        key = (trunk.key, training)
        kept = self._kept.get(key)
        if kept is None or time.monotonic() >= kept.stale_at:
            kept = self._kept[key] = _read(trunk, training, pack)
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return kept


def pool(rows: np.ndarray, ratio: float) -> np.ndarray:
    """Average rows over their positions: (n, D), (n, positions, D), (n, D, h, w) or (n, h, w, D) → (n, D) float32.

    `ratio` is height / width of the network's input.
    """
    values = rows.astype(np.float32)
    if values.ndim == 4:
        height, width = find_position_axes(values.shape[1:], ratio) or (1, 2)
        averaged: np.ndarray = values.mean((1 + height, 1 + width))
        return averaged
    return values.mean(1) if values.ndim == 3 else values


def normalize(features: np.ndarray) -> np.ndarray:
    """Divide features (n, D) by their lengths."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    normalized: np.ndarray = features / np.maximum(lengths, 1e-12)
    return normalized


def _read(trunk: LoadedTrunk, training: Training, pack: Pack) -> TrainingFeatures:
    """Read the features of the training images that the cache has."""
    train, *_ = split_pack(pack, len(training.classes), training)
    store, ratio = trunk.open_training_rows(training.engine, training.device), _find_ratio(trunk)
    numbers = store.find(pack.digests[train.images], 0)
    found = np.flatnonzero(numbers != MISSING)
    row, size = math.prod(store.shape), pool(np.zeros((1, *store.shape)), ratio).shape[1]
    most = max(1, min(MOST_READ // (row * store.dtype.itemsize), MOST_BYTES // (2 * size)))
    there = found[_choose_evenly(len(found), most)]
    features = np.empty((len(there), size), np.float16)
    step = max(1, BLOCK_BYTES // (4 * row))
    for start in range(0, len(there), step):
        block = slice(start, start + step)
        features[block] = normalize(pool(store.read(numbers[there[block]]), ratio))
    stale_at = math.inf if len(found) == len(train.images) else time.monotonic() + READ_AGAIN_SECONDS
    return TrainingFeatures(train.images[there], features, len(train.images), stale_at)


def _find_ratio(trunk: LoadedTrunk) -> float:
    """Find height / width of a trunk's input."""
    _, height, width = trunk.preprocessing.input_size
    return height / width


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
