"""Calibration error by hand, and temperatures against those that made the labels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.evaluation.calibration import BINS, compute_calibration_error, fit_temperature
from models.evaluation.metrics import evaluate, evaluate_multi_label


def with_probability(right: float, classes: int = 2) -> np.ndarray:
    """Logits whose first class has this probability."""
    probabilities = np.array([right, *[(1 - right) / (classes - 1)] * (classes - 1)])
    return np.asarray(np.log(probabilities))


def draw(images: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `temperature` times as large as those by whose probabilities the labels are drawn."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (images, 4))
    drawn = (logits + random.gumbel(size=logits.shape)).argmax(1)
    return logits * temperature, drawn


def test_the_error_is_the_gap_between_probability_and_share_by_bins() -> None:
    logits = np.stack([with_probability(0.9)] * 10 + [with_probability(0.61)] * 10)
    labels = np.array([0] * 7 + [1] * 3 + [0] * 6 + [1] * 4)
    assert compute_calibration_error(logits, labels) == pytest.approx((0.2 + 0.01) / 2)
    assert compute_calibration_error(logits, np.zeros(20, int)) == pytest.approx((0.1 + 0.39) / 2)


def test_gaps_of_one_bin_make_up_for_each_other_and_those_of_two_bins_do_not() -> None:
    edge = 12 / BINS
    labels = np.array([1] * 2 + [0] * 8)  # three fifths of the first five are right, and all of the others
    same = np.stack([with_probability(edge - 0.01)] * 5 + [with_probability(edge - 0.02)] * 5)
    assert compute_calibration_error(same, labels) == pytest.approx(0.8 - (edge - 0.015))
    two = np.stack([with_probability(edge - 0.01)] * 5 + [with_probability(edge + 0.01)] * 5)
    assert compute_calibration_error(two, labels) == pytest.approx(((edge - 0.01 - 0.6) + (1 - edge - 0.01)) / 2)


def test_certain_predictions_lie_in_the_last_bin() -> None:
    assert compute_calibration_error(np.array([[1e4, 0.0]]), np.array([0])) == 0.0
    assert compute_calibration_error(np.array([[1e4, 0.0]]), np.array([1])) == 1.0


def test_of_several_labels_each_probability_counts() -> None:
    logits = np.full((10, 2), math.log(0.8 / 0.2))
    targets = np.zeros((10, 2), np.float32)
    targets[:8, 0], targets[:4, 1] = 1, 1
    assert compute_calibration_error(logits, targets) == pytest.approx(0.8 - 0.6)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_the_temperature_is_the_one_that_was_hidden(temperature: float) -> None:
    logits, labels = draw(20_000, temperature)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.03)
    before, after = (evaluate(scaled, labels, list("abcd"))["loss"] for scaled in (logits, logits / found))
    assert after <= before + 1e-4
    assert compute_calibration_error(logits / found, labels) < 0.02


def test_of_several_labels_it_is_found_too() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (5000, 3))
    targets = (random.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    assert fit_temperature(logits * 3, targets) == pytest.approx(3.0, rel=0.05)
    scaled = logits * 3 / fit_temperature(logits * 3, targets)
    assert (evaluate_multi_label(scaled, targets, list("abc"))["accuracy"]) == pytest.approx(
        evaluate_multi_label(logits, targets, list("abc"))["accuracy"]
    )


@pytest.mark.parametrize("images", [10, 100, 1000])
def test_where_no_prediction_is_wrong_it_is_bounded(images: int) -> None:
    """However sure the logits: one wrong prediction in n + 2 is expected, and costs about log n, not a hundred nats."""
    labels = np.arange(images) % 3
    logits = 100.0 * np.eye(3)[labels]
    scaled = logits / fit_temperature(logits, labels)
    wrong = evaluate(scaled[:1], np.array([1]), list("abc"))["loss"]
    assert wrong < 2 + 2 * math.log(images)
    assert evaluate(scaled, labels, list("abc"))["loss"] < 0.2


def test_a_few_images_move_it_little_and_gross_errors_do() -> None:
    logits, labels = draw(10, 1.5)
    assert fit_temperature(logits, labels) == pytest.approx(1.0, abs=0.3)
    logits, labels = draw(10, 100.0)
    assert fit_temperature(logits, labels) > 10


def test_it_is_always_the_same_and_short() -> None:
    logits, labels = draw(50, 1.3)
    found = fit_temperature(logits, labels)
    assert found == fit_temperature(logits, labels) == float(f"{found:.4g}")
