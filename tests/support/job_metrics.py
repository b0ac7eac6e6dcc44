"""Metrics of a job that has succeeded."""

from __future__ import annotations

from typing import Any

METRICS: dict[str, Any] = {
    "loss": 0.4,
    "accuracy": 0.75,
    "balanced_accuracy": 0.7,
    "macro_f1": 0.72,
    "per_class": [
        {"class": "cat", "precision": 0.8, "recall": 0.8, "f1": 0.8, "support": 10},
        {"class": "dog", "precision": 0.7, "recall": 0.7, "f1": 0.7, "support": 10},
    ],
    "confusion_matrix": [[8, 2], [3, 7]],
    "constant_accuracy": 0.5,
    "calibration_error": 0.03,
}
