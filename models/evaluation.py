"""Evaluation of a classifier: accuracy, F1, precision and recall by class, and the confusion matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


def evaluate(logits: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """The metrics of logits (n, C) for labels (n,).

    loss: mean of -log softmax(logits)[label]. accuracy: share whose greatest logit is the label's. macro_f1: mean F1 of
    the classes that occur among labels or predictions. confusion_matrix[i][j]: pictures of class i taken for class j.
    Precision, recall and F1 of nothing (0/0) count as 0. All but loss and counts are fractions from 0 to 1.
    """
    predictions = logits.argmax(1)
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (labels, predictions), 1)
    hits = confusion.diagonal().astype(float)
    support, predicted = confusion.sum(1), confusion.sum(0)
    f1 = _ratio(2 * hits, support + predicted)
    occurs = (support + predicted) > 0
    return {
        "loss": _cross_entropy(logits, labels),
        "accuracy": float(hits.sum() / len(labels)),
        "macro_f1": float(f1[occurs].mean()),
        "per_class": [
            {"class": name, "precision": p, "recall": r, "f1": f, "support": n}
            for name, p, r, f, n in zip(
                classes,
                _ratio(hits, predicted).tolist(),
                _ratio(hits, support).tolist(),
                f1.tolist(),
                support.tolist(),
                strict=True,
            )
        ],
        "confusion_matrix": confusion.tolist(),
    }


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    shifted = logits.astype(float) - logits.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return float(-log_probabilities[np.arange(len(labels)), labels].mean())


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    ratio: np.ndarray = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return ratio
