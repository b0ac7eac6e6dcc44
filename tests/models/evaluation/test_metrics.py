"""Metrics against scikit-learn's."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from sklearn import metrics

from models.evaluation.metrics import compute_constant_accuracy, compute_probabilities, evaluate, evaluate_multi_label


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
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predictions))
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


def test_the_constant_predictor_says_what_is_most_frequent() -> None:
    shares = np.array([0.2, 0.7, 0.1])
    assert compute_constant_accuracy(shares, np.array([1, 1, 0, 2])) == 0.5
    # Of several labels, it says those that more than half of the images have.
    several = np.array([0.2, 0.7, 0.6])
    targets = np.array([[0, 1, 1], [1, 1, 1], [0, 1, 0], [0, 0, 0]], np.float32)
    assert compute_constant_accuracy(several, targets) == 0.25


def test_huge_logits_do_not_overflow() -> None:
    assert evaluate(np.array([[1e4, -1e4]]), np.array([1]), ["a", "b"])["loss"] == pytest.approx(2e4)


def some_targets(random: np.random.Generator) -> np.ndarray:
    """For 60 images; of five classes the fourth never occurs, and the last always."""
    targets = (random.random((60, 5)) < [0.1, 0.5, 0.8, 0.0, 1.0]).astype(np.float32)
    targets[0, :3] = 1
    return targets


@pytest.mark.parametrize("are_tied", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_several_labels_agree_with_scikit_learn(seed: int, are_tied: bool) -> None:
    random = np.random.default_rng(seed)
    targets = some_targets(random)
    logits = (random.normal(size=(60, 5)) * 3 + targets).astype(np.float32)
    if are_tied:
        logits = logits.round()
    found = evaluate_multi_label(logits, targets, list("abcde"))
    truth, predictions = targets.astype(int), (logits > 0).astype(int)
    probabilities = 1 / (1 + np.exp(-logits.astype(float)))
    losses = [metrics.log_loss(truth[:, c], probabilities[:, c], labels=[0, 1]) for c in range(5)]
    assert found["loss"] == pytest.approx(np.mean(losses))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predictions))
    assert found["micro_f1"] == pytest.approx(metrics.f1_score(truth, predictions, average="micro"))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(truth, predictions, average="macro"))
    occurring = [0, 1, 2, 4]
    assert found["map"] == pytest.approx(metrics.average_precision_score(truth[:, occurring], logits[:, occurring]))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(truth, predictions, zero_division=0.0)
    for c, row in enumerate(found["per_class"]):
        averaged = None if c == 3 else pytest.approx(metrics.average_precision_score(truth[:, c], logits[:, c]))
        assert row == {
            "class": "abcde"[c],
            "precision": pytest.approx(precision[c]),
            "recall": pytest.approx(recall[c]),
            "f1": pytest.approx(f1[c]),
            "average_precision": averaged,
            "support": support[c],
        }


def test_where_nothing_is_predicted_nothing_is_right_but_the_ranks() -> None:
    targets = some_targets(np.random.default_rng(0))
    found = evaluate_multi_label(targets - 5, targets, list("abcde"))
    assert found["micro_f1"] == found["macro_f1"] == found["accuracy"] == 0.0
    assert found["map"] == 1.0
    assert [row["precision"] for row in found["per_class"]] == [0.0] * 5


def test_a_class_neither_shown_nor_predicted_counts_for_nothing() -> None:
    targets = np.eye(3)[[0, 1, 1]]
    found = evaluate_multi_label(targets - 0.5, targets, ["a", "b", "never"])
    assert found["accuracy"] == found["map"] == found["micro_f1"] == found["macro_f1"] == 1.0
    zeros = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "average_precision": None, "support": 0}
    assert found["per_class"][2] == {"class": "never", **zeros}
    assert json.loads(json.dumps(found)) == found


def test_equal_logits_rank_as_one_and_predict_nothing_at_one_half() -> None:
    targets = np.array([[1.0], [0.0], [0.0], [0.0]])
    found = evaluate_multi_label(np.zeros((4, 1)), targets, ["a"])
    assert found["map"] == 0.25
    assert found["micro_f1"] == 0.0
    assert found["loss"] == pytest.approx(np.log(2))


def test_nothing_shown_and_nothing_predicted_gives_zeros() -> None:
    found = evaluate_multi_label(np.full((3, 2), -1.0), np.zeros((3, 2)), ["a", "b"])
    assert found["accuracy"] == 1.0
    assert found["map"] == found["micro_f1"] == found["macro_f1"] == 0.0


def test_huge_logits_of_several_labels_do_not_overflow() -> None:
    logits, targets = np.array([[1e4, -1e4]], np.float32), np.array([[0, 0]], np.float32)
    assert evaluate_multi_label(logits, targets, ["a", "b"])["loss"] == pytest.approx(5e3)


def test_probabilities_are_those_of_torch() -> None:
    logits = np.array([[3.0, -2.0, 0.5], [-900.0, 900.0, 0.0]], np.float32)
    wide = torch.from_numpy(logits).double()
    for is_multi_label, expected in ((False, wide.softmax(1)), (True, wide.sigmoid())):
        found = compute_probabilities(logits, is_multi_label=is_multi_label)
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-12, atol=1e-300)
