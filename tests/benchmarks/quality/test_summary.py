"""The summary's arithmetic: intervals against Student's, pairs with the empty recipe, pooled calibration error."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from benchmarks.quality.rows import Key, Row, make_row
from benchmarks.quality.summary import (
    average_splits,
    compute_pooled_error,
    format_cells,
    format_methods,
    select,
    summarize,
)
from models.evaluation.calibration import compute_calibration_error

T_OF_THREE = 4.303
"""97.5% quantile of Student's distribution with 2 degrees of freedom."""


def make_rows(accuracies: dict[tuple[str, int, str], float]) -> dict[Key, Row]:
    """Make rows of 100 predictions with these accuracies, by set, split and method."""
    rows = {}
    for (name, split, method), accuracy in accuracies.items():
        right = [place < round(100 * accuracy) for place in range(100)]
        row = make_row([0.75] * 100, right, 10.0 * (1 + split), 5.0)
        rows[Key(name, "small", split, method, 96, None)] = row
    return rows


THREE = {("a", 0): (0.5, 0.6), ("a", 1): (0.52, 0.66), ("a", 2): (0.48, 0.63), ("b", 0): (0.9, 0.9)}
THREE |= {("b", 1): (0.88, 0.92), ("b", 2): (0.92, 0.91)}
ROWS = make_rows(
    {(*key, method): pair[place] for key, pair in THREE.items() for place, method in enumerate(("empty", "whole"))}
)


def test_the_interval_is_students_over_the_means_of_splits() -> None:
    found = summarize(ROWS, "whole")
    means = [0.75, 0.79, 0.77]
    assert (found.cells, found.splits) == (2, 3)
    assert found.accuracy.mean == pytest.approx(np.mean(means))
    assert found.accuracy.margin == pytest.approx(T_OF_THREE * statistics.stdev(means) / math.sqrt(3), rel=0.001)


def test_the_gain_is_paired_with_the_empty_recipe() -> None:
    gain = summarize(ROWS, "whole").gain
    assert gain
    differences = [0.05, 0.09, 0.07]
    assert gain.mean == pytest.approx(np.mean(differences))
    assert gain.margin == pytest.approx(T_OF_THREE * statistics.stdev(differences) / math.sqrt(3), rel=0.001)
    assert summarize(ROWS, "empty").gain is None


def test_cells_that_the_empty_recipe_lacks_are_in_the_mean_and_not_in_the_gain() -> None:
    rows = ROWS | make_rows({("c", split, "whole"): 0.1 for split in range(3)})
    found = summarize(rows, "whole")
    assert found.cells == 3
    assert found.accuracy.mean == pytest.approx((0.77 * 2 + 0.1) / 3)
    assert found.gain == summarize(ROWS, "whole").gain


def test_a_split_that_lacks_a_cell_is_left_out_of_the_mean() -> None:
    rows = {key: row for key, row in ROWS.items() if key.method == "whole" and (key.set, key.split) != ("b", 1)}
    assert average_splits(rows) == pytest.approx([0.75, 0.77])


def test_one_split_has_no_interval() -> None:
    rows = {key: row for key, row in ROWS.items() if key.split == 0}
    assert math.isinf(summarize(rows, "empty").accuracy.margin)
    assert "| empty | 2 | 1 | 70.0 |  | 10 | 5 |" in format_methods(rows, ["empty", "whole"])


def test_the_pooled_error_is_that_of_logits_of_these_confidences() -> None:
    random = np.random.default_rng(0)
    logits, labels = random.normal(0, 2, (500, 4)), random.integers(0, 4, 500)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    right = probabilities.argmax(1) == labels
    found = compute_pooled_error(probabilities.max(1), right)
    assert found == pytest.approx(compute_calibration_error(logits, labels))
    shares, means = calibration_curve(right, probabilities.max(1), n_bins=15)
    counts = np.histogram(probabilities.max(1), np.linspace(0, 1, 16))[0]
    assert found == pytest.approx((counts[counts > 0] / 500) @ np.abs(shares - means))


def test_errors_of_pooled_predictions_cancel_within_a_bin() -> None:
    assert compute_pooled_error(np.full(4, 0.75), np.array([1, 1, 1, 0])) == pytest.approx(0.0)
    assert compute_pooled_error(np.full(4, 0.75), np.array([1, 0, 0, 0])) == pytest.approx(0.5)
    assert summarize(ROWS, "empty").calibration_error == pytest.approx(abs(0.7 - 0.75))


def test_a_method_without_probabilities_has_no_calibration_error() -> None:
    key = Key("a", "small", 0, "fastai", 96, None)
    assert summarize({key: Row(0.5, 3.0, 3.0, (), "")}, "fastai").calibration_error is None


def test_protocols_are_kept_apart() -> None:
    other = {key._replace(budget=60.0): row for key, row in ROWS.items()}
    assert select(ROWS | other, 96, None) == ROWS
    assert select(ROWS | other, 96, 60.0) == other
    assert select(ROWS, 128, None) == {}


def test_a_table_of_cells_has_a_column_for_each_method() -> None:
    rows = ROWS | make_rows({("c", 0, "whole"): 0.25})
    lines = format_cells(rows, ["empty", "whole", "fastai"]).splitlines()
    assert lines[0] == "| set | backbone | empty | whole |"
    assert lines[2].startswith("| a | small | 50.0 ± 5.0 | 63.0 ± ")
    assert lines[4] == "| c | small |  | 25.0 |"
