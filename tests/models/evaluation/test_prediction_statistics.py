"""Prediction statistics: their bytes come back, small, and sets are made of raw logits."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.novelty import StackedStatistics, project
from models.evaluation.prediction_statistics import PredictionStatistics, StatisticsUnreadable, measure


def measure_random(num_features: int, classes: int = 10, temperature: float = 2.0) -> PredictionStatistics:
    """Measure the statistics of random images."""
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(400, num_features)), random.integers(classes, size=400)
    logits = random.normal(size=(300, classes))
    held_out = random.integers(classes, size=300)
    return measure(logits, held_out, temperature, project(features[:300]), (project(features), labels))


def test_what_is_written_is_read() -> None:
    written = measure_random(96)
    read = PredictionStatistics.from_bytes(written.to_bytes())
    assert read.to_bytes() == written.to_bytes()
    images = project(np.random.default_rng(1).normal(size=(5, 96)))
    one, other = (StackedStatistics([some.classes]).measure(images) for some in (written, read))
    assert np.array_equal(one, other)
    logits = np.random.default_rng(2).normal(size=(5, 10))
    assert np.array_equal(written.make_sets(logits, 0.8), read.make_sets(logits, 0.8))


def test_sets_are_made_of_the_logits_before_the_temperature() -> None:
    statistics, raw = measure_random(96, temperature=2.0), np.random.default_rng(3).normal(size=(50, 10))
    same = measure_random(96, temperature=1.0)
    assert np.array_equal(statistics.make_sets(raw / 2, 0.9), same.make_sets(raw, 0.9))


@pytest.mark.parametrize(("num_features", "most"), [(1280, 0.08), (192, 0.45)])
def test_they_are_smaller_than_the_head(num_features: int, most: float) -> None:
    head = (num_features + 1) * 10 * 4
    assert len(measure_random(num_features).to_bytes()) < most * head


def test_bytes_of_nothing_or_of_a_newer_release_are_refused() -> None:
    content = measure_random(96).to_bytes()
    with pytest.raises(StatisticsUnreadable, match="damaged"):
        PredictionStatistics.from_bytes(content[:-9])
    with pytest.raises(StatisticsUnreadable, match="version 9"):
        PredictionStatistics.from_bytes(content.replace(rb"\"version\": 1", rb"\"version\": 9"))
