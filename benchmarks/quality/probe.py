"""scikit-learn's logistic regression on pooled features of the frozen backbone, with C chosen by validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.quality.loading import build_features, build_transform, load_images

if TYPE_CHECKING:
    from benchmarks.quality.cell import Cell

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
BATCH = 64


def run_probe(cell: Cell) -> tuple[np.ndarray, np.ndarray, str]:
    """Fit one probe for each C; returns confidences, if right, of the test images by the best, and a note."""
    split, labels = cell.images.split, cell.images.labels
    features = compute_features(cell)
    fitted = []
    for strength in STRENGTHS:
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
        probe.fit(features[split.train], labels[split.train])
        fitted.append((probe.score(features[split.validation], labels[split.validation]), -strength, probe))
    _, strength, best = max(fitted, key=lambda one: one[:2])
    probabilities = best.predict_proba(features[split.test])
    right = best.classes_[probabilities.argmax(1)] == labels[split.test]
    return probabilities.max(1), right, f"C = {-strength:g}"


@torch.inference_mode()
def compute_features(cell: Cell) -> np.ndarray:
    """Compute the pooled features of all images in eager float32, (n, D)."""
    backbone = cell.backbone.load(cell.image_size)
    network, _ = build_features(backbone)
    network.eval()
    images = load_images(cell.images.pack)
    transform = build_transform(backbone.preprocessing)
    found = [
        network(torch.stack([transform(image) for image in images[first : first + BATCH]])).numpy()
        for first in range(0, len(images), BATCH)
    ]
    return np.concatenate(found)
