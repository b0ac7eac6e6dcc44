"""Wilson's intervals against SciPy."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest  # type: ignore[import-untyped]

from service.jobs.intervals import Interval, compute_interval, count_share


@pytest.mark.parametrize(("hits", "count"), [(0, 5), (5, 5), (27, 45), (1, 1000), (999, 1000)])
def test_intervals_are_those_of_wilson(hits: int, count: int) -> None:
    found = compute_interval(hits / count, count)
    expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert found.low == pytest.approx(expected.low, abs=1e-4)
    assert found.high == pytest.approx(expected.high, abs=1e-4)


def test_of_no_images_nothing_is_known() -> None:
    assert compute_interval(0.0, 0) == Interval(0.0, 0.0, 1.0)
    assert count_share(0, 0) is None
