"""Predictions for single images, validation and test, in a compact file that needs no numpy to be read.

The file is the length of its header (8 bytes, little-endian), the header (JSON), and for each split these columns of
little-endian numbers, for its n images in the order of the dataset, with the k most probable classes of each:

places (n) uint32           positions of the images in the dataset
losses (n) float32          cross entropy of the calibrated probabilities; of several labels, the mean over classes
counts (n) uint8            how many of the k classes are predicted: 1, or those of at least 1/2 of several labels
classes (n, k)              the most probable first; uint16, or uint32 for more than 65,536 classes
probabilities (n, k) float16
worst, doubtful, name (n) uint32    rows in the order of falling loss, of rising doubt, and of file names

Doubt is the margin between the two greatest probabilities (Scheffer et al., 2001), or of several labels the distance
of the one that is nearest to 1/2.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from models.evaluation.metrics import compute_log_probabilities, compute_probabilities

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VERSION = 1
MOST_CLASSES = 10
"""Classes that are kept of each image."""


def write_predictions(splits: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], names: Sequence[str]) -> bytes:
    """Write the predictions of each split as one file.

    Args:
        splits: by its name, positions of the images in the dataset (n,), calibrated logits (n, C), and labels, (n,) or
            multi-hot (n, C).
        names: the file of each image of the dataset.
    """
    encoded = {name: _encode_split(*arrays, names) for name, arrays in splits.items()}
    _, logits, labels = next(iter(splits.values()))
    header = {
        "version": VERSION,
        "is_multi_label": labels.ndim == 2,
        "kept": min(MOST_CLASSES, logits.shape[1]),
        "class_bytes": _choose_class_type(logits).itemsize,
        "splits": [{"name": name, "images": len(splits[name][0])} for name in encoded],
    }
    content = json.dumps(header).encode()
    return b"".join([len(content).to_bytes(8, "little"), content, *encoded.values()])


def _choose_class_type(logits: np.ndarray) -> np.dtype:
    return np.dtype("<u2" if logits.shape[1] <= 1 << 16 else "<u4")


def _encode_split(places: np.ndarray, logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> bytes:
    wide = logits.astype(float)
    order = np.argsort(-wide, axis=1, kind="stable")[:, :MOST_CLASSES]
    if labels.ndim == 2:
        probabilities = compute_probabilities(wide, is_multi_label=True)
        losses = (np.logaddexp(0, wide) - labels * wide).mean(1)
        doubts = np.abs(probabilities - 0.5).min(1)
        counts = (np.take_along_axis(wide, order, 1) >= 0).sum(1)
    else:
        logs = compute_log_probabilities(wide)
        probabilities = np.exp(logs)
        losses = -logs[np.arange(len(labels)), labels]
        greatest = np.sort(probabilities, axis=1)[:, -2:]
        doubts = greatest[:, -1] - greatest[:, 0]
        counts = np.ones(len(places))
    of_rows = [names[place] for place in places.tolist()]
    files = sorted(range(len(places)), key=of_rows.__getitem__)
    columns = (
        places.astype("<u4"),
        losses.astype("<f4"),
        counts.astype("u1"),
        order.astype(_choose_class_type(logits)),
        np.take_along_axis(probabilities, order, 1).astype("<f2"),
        np.argsort(-losses, kind="stable").astype("<u4"),
        np.argsort(doubts, kind="stable").astype("<u4"),
        np.array(files, "<u4"),
    )
    return b"".join(column.tobytes() for column in columns)
