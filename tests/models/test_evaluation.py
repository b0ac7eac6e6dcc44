"""Metrics against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from models.evaluation import evaluate


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, 50)
    logits = random.normal(size=(50, 4)).astype(np.float32) * 3
    found = evaluate(logits, labels, ["a", "b", "c", "d"])
    predictions = logits.argmax(1)
    probabilities = np.exp(logits.astype(float))
    probabilities /= probabilities.sum(1, keepdims=True)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predictions))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, predictions, average="macro"))
    assert found["loss"] == pytest.approx(metrics.log_loss(labels, probabilities, labels=range(4)))
    assert found["confusion_matrix"] == metrics.confusion_matrix(labels, predictions, labels=range(4)).tolist()
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predictions, labels=range(4), zero_division=0.0
    )
    for place, row in enumerate(found["per_class"]):
        assert row == {
            "class": "abcd"[place],
            "precision": pytest.approx(precision[place]),
            "recall": pytest.approx(recall[place]),
            "f1": pytest.approx(f1[place]),
            "support": support[place],
        }


def test_a_class_that_does_not_occur_counts_for_nothing() -> None:
    found = evaluate(np.eye(3)[[0, 1, 1]], np.array([0, 1, 1]), ["a", "b", "never"])
    assert found["accuracy"] == found["macro_f1"] == 1.0
    assert found["per_class"][2] == {"class": "never", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}


def test_huge_logits_do_not_overflow() -> None:
    assert evaluate(np.array([[1e4, -1e4]]), np.array([1]), ["a", "b"])["loss"] == pytest.approx(2e4)
