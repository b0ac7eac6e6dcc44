"""Results of a job: which images they are of, and what is confused most."""

from __future__ import annotations

from service.pages import results
from tests.support.job_metrics import METRICS


def test_the_test_images_are_shown_where_there_are_some() -> None:
    found = results.build({"test": METRICS, "validation": {}})
    assert found is not None
    assert (found.split, found.images) == ("test", 20)
    assert results.build({"test": None, "validation": METRICS}).split == "validation"  # type: ignore[union-attr]
    assert results.build(None) is None
    assert results.build({"test": None}) is None


def test_confusions_are_sorted_by_number_and_shares_are_of_the_true_class() -> None:
    found = results.build({"test": METRICS})
    assert found is not None
    assert found.confusions == [("dog", "cat", 3, 0.3), ("cat", "dog", 2, 0.2)]
    assert found.matrix[0] == [(8, 8), (2, 2)]


def test_images_with_several_labels_have_no_matrix() -> None:
    several = {name: value for name, value in METRICS.items() if name != "confusion_matrix"} | {"map": 0.8}
    found = results.build({"test": several})
    assert found is not None
    assert found.matrix == found.confusions == []
