"""Evaluation of a classifier: accuracy, F1, precision and recall by class; confusion matrix or average precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


def evaluate(logits: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Compute metrics from logits (n, C) and labels (n,).

    loss: mean of -log softmax(logits)[label]. accuracy: share whose greatest logit is the label's. balanced_accuracy:
    mean recall of the classes that occur among labels. macro_f1: mean F1 of the classes that occur among labels or
    predictions. confusion_matrix[i][j]: images of class i taken for class j. Precision, recall and F1 of nothing (0/0)
    count as 0. All but loss and counts are fractions from 0 to 1.
    """
    predictions = logits.argmax(1)
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (labels, predictions), 1)
    hits = confusion.diagonal().astype(float)
    support, predicted = confusion.sum(1), confusion.sum(0)
    f1 = _ratio(2 * hits, support + predicted)
    occurs = (support + predicted) > 0
    return {
        "loss": float(compute_losses(logits, labels).mean()),
        "accuracy": float(hits.sum() / len(labels)),
        "balanced_accuracy": float((hits[support > 0] / support[support > 0]).mean()),
        "macro_f1": float(f1[occurs].mean()),
        "per_class": _per_class(classes, hits, predicted, support),
        "confusion_matrix": confusion.tolist(),
    }


def evaluate_multi_label(logits: np.ndarray, targets: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Compute metrics from logits z (n, C) and targets t (n, C), 1 where an image has the class and else 0.

    A class is predicted where its probability sigmoid(z) is above 1/2, that is z > 0.

    loss: mean over images and classes of log(1 + exp z) - t z, the binary cross entropy.
    accuracy: share of images all of whose classes are right (subset accuracy).
    average_precision: sum over the different z of a class, from the greatest on, of (R_k - R_k-1) P_k, with recall R_k
    and precision P_k of predicting all images from that z on (so ties count together); None for a class that does not
    occur. map: its mean over those that do.
    f1 = 2 hits / (predicted + support). macro_f1: its mean over the classes that occur among targets or predictions.
    micro_f1: the same of the sums over all classes. Precision, recall and F1 of nothing (0/0) count as 0.
    """
    truth, predictions = targets > 0, logits > 0
    support, predicted = truth.sum(0), predictions.sum(0)
    hits = (truth & predictions).sum(0)
    f1 = _ratio(2 * hits, support + predicted)
    precisions = [_average_precision(scores, of_class) for scores, of_class in zip(logits.T, truth.T, strict=True)]
    rows = _per_class(classes, hits, predicted, support)
    return {
        "loss": compute_binary_cross_entropy(logits, targets),
        "accuracy": float((truth == predictions).all(1).mean()),
        "map": _mean([precision for precision in precisions if precision is not None]),
        "micro_f1": float(_ratio(2 * hits.sum(keepdims=True), (support + predicted).sum(keepdims=True))[0]),
        "macro_f1": _mean(f1[(support + predicted) > 0].tolist()),
        "per_class": [{**row, "average_precision": precision} for row, precision in zip(rows, precisions, strict=True)],
    }


def compute_constant_accuracy(shares: np.ndarray, labels: np.ndarray) -> float:
    """Compute the accuracy of the constant predictor on labels (n,) or (n, C): what it says follows from shares (C,).

    It predicts the class with the greatest share of the training images for all images; of several labels an image, all
    classes that more than half of them have.
    """
    if labels.ndim == 1:
        return float((labels == shares.argmax()).mean())
    return float(((labels > 0) == (shares > 0.5)).all(1).mean())


def count_correct(logits: torch.Tensor, labels: torch.Tensor) -> int:
    """Count correctly classified images: logits (B, C), labels (B,), or multi-hot (B, C) with all classes right."""
    if labels.ndim == 1:
        return int((logits.argmax(1) == labels).sum())
    return int(((logits > 0) == (labels > 0.5)).all(1).sum())


def _per_class(
    classes: Sequence[str], hits: np.ndarray, predicted: np.ndarray, support: np.ndarray
) -> list[dict[str, Any]]:
    columns = (_ratio(hits, predicted), _ratio(hits, support), _ratio(2 * hits, support + predicted), support)
    return [
        {"class": name, "precision": p, "recall": r, "f1": f, "support": n}
        for name, p, r, f, n in zip(classes, *(column.tolist() for column in columns), strict=True)
    ]


def compute_log_probabilities(logits: np.ndarray) -> np.ndarray:
    """Compute log softmax of logits (n, C) in double precision."""
    shifted = logits.astype(float) - logits.max(1, keepdims=True)
    log_probabilities: np.ndarray = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return log_probabilities


def compute_probabilities(logits: np.ndarray, *, is_multi_label: bool) -> np.ndarray:
    """Compute probabilities of logits (n, C) in double precision: softmax, or sigmoid where images may have several."""
    if is_multi_label:
        sigmoid: np.ndarray = 1 / (1 + np.exp(-np.clip(logits.astype(float), -700, 700)))
        return sigmoid
    softmax: np.ndarray = np.exp(compute_log_probabilities(logits))
    return softmax


def compute_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute each image's cross entropy, (n,), from logits (n, C) and labels (n,).

    With multi-hot labels (n, C), the mean of its binary cross entropies.
    """
    if labels.ndim == 2:
        means: np.ndarray = compute_binary_losses(logits, labels).mean(1)
        return means
    losses: np.ndarray = -compute_log_probabilities(logits)[np.arange(len(labels)), labels]
    return losses


def compute_binary_losses(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Compute log(1 + exp z) - t z of logits z and targets t, (n, C), in double precision."""
    exact = logits.astype(float)
    losses: np.ndarray = np.logaddexp(0, exact) - targets * exact
    return losses


def compute_binary_cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    """Compute the mean of log(1 + exp z) - t z over logits z and targets t, (n, C), in double precision."""
    return float(compute_binary_losses(logits, targets).mean())


def _average_precision(scores: np.ndarray, truth: np.ndarray) -> float | None:
    """Average precision of one class, from scores (n,) and truth (n,); None where it does not occur."""
    order = np.argsort(-scores)
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = truth[order].cumsum()[ends]
    gained = np.diff(hits, prepend=0)
    return float(gained @ (hits / (ends + 1)) / hits[-1]) if hits[-1] else None


def _mean(values: Sequence[float]) -> float:
    """Mean of values; 0 if there are none."""
    return sum(values) / len(values) if values else 0.0


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    ratio: np.ndarray = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return ratio
