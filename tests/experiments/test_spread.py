"""Differences over seeds, computed by hand."""

from __future__ import annotations

import math

import pytest

from experiments.spread import Difference, compare_with, format_percent, format_powers, format_spread


def test_a_difference_is_clear_where_its_interval_leaves_out_zero() -> None:
    difference = Difference.from_pairs([0.5, 0.6, 0.7], [0.4, 0.4, 0.4])
    assert difference.mean == pytest.approx(0.2)
    assert difference.margin == pytest.approx(4.30 * 0.1 / math.sqrt(3))
    assert not difference.is_clear
    assert Difference.from_pairs([0.5, 0.51, 0.52], [0.4, 0.4, 0.4]).is_clear
    assert not Difference.from_pairs([0.9], [0.1]).is_clear, "one seed shows no spread"
    assert not Difference.from_pairs([0.9, math.inf], [0.1, 0.1]).is_clear


def test_a_sentence_says_what_helps_and_what_does_not() -> None:
    values = {
        "nothing": [0.50, 0.52, 0.51],
        "this": [0.60, 0.62, 0.61],
        "that": [0.49, 0.53, 0.51],
        "worse": [0.40, 0.42, 0.41],
    }
    assert compare_with("nothing", values) == (
        "in points of test accuracy, clearly above nothing: this (+10.0 ± 0.0); clearly below nothing: "
        "worse (-10.0 ± 0.0); no clear difference: that (+0.0 ± 2.5)."
    )
    alike = {"nothing": [0.5, 0.6], "that": [0.6, 0.5]}
    assert "nothing is clearly above or below nothing" in compare_with("nothing", alike)


def test_means_come_with_deviations() -> None:
    assert format_spread([1.0, 2.0, 3.0]) == "2.00 ± 1.00"
    assert format_percent([0.5, 0.52]) == "51.0% ± 1.4"
    assert format_percent([0.5]) == "50.0% ± 0.0"
    assert format_powers([1e-3, 1e-5]) == "10^(-4.0 ± 1.4)"
    assert format_powers([0.0, 1.0]) == "0"
