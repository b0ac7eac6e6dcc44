"""The final test: classes as exact features have them, though few images are computed exactly."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.exact_predictions import FIRST, compute_exactly_where_near


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.3])
def test_every_image_has_its_exact_class_and_few_are_computed(noise: float, classes: int) -> None:
    random = np.random.default_rng(classes)
    exact = random.normal(0, 3, (3000, classes)).astype(np.float32)
    near = exact + random.uniform(-noise, noise, exact.shape).astype(np.float32)
    asked: list[int] = []

    def exactly(images: np.ndarray) -> np.ndarray:
        asked.extend(images.tolist())
        return np.asarray(exact[images])

    images = random.permutation(3000)[:2000]
    logits, is_exact = compute_exactly_where_near(lambda wanted: near[wanted].copy(), exactly, images)
    np.testing.assert_array_equal(logits.argmax(1), exact[images].argmax(1))
    assert len(set(asked)) == len(asked), "each is computed once"
    assert len(asked) <= FIRST + 2000 * noise * 2
    known = np.isin(images, asked)
    np.testing.assert_array_equal(is_exact, known)
    np.testing.assert_array_equal(logits[known], exact[images][known])


def test_a_few_images_are_all_computed_exactly() -> None:
    exact = np.array([[1.0, 0.0], [0.0, 1.0]])
    logits, _ = compute_exactly_where_near(
        lambda images: -exact[images], lambda images: exact[images], np.array([1, 0])
    )
    np.testing.assert_array_equal(logits, exact[[1, 0]])


def test_a_lead_that_could_change_is_looked_at() -> None:
    """The first sixteen leads change by 0.2, from -0.1 to 0.1; the seventeenth is 0.19, and is turned."""
    exact = np.tile([[0.1, 0.0]], (19, 1))
    near = np.tile([[0.0, 0.1]], (19, 1))
    near[16], exact[16] = [0.0, 0.19], [0.1, 0.09]
    near[17], exact[17] = [0.39, 0.0], [0.39, 0.0]
    near[18], exact[18] = [0.41, 0.0], [0.41, 0.0]
    asked: list[int] = []

    def exactly(images: np.ndarray) -> np.ndarray:
        asked.extend(images.tolist())
        return np.asarray(exact[images])

    logits, _ = compute_exactly_where_near(lambda images: near[images].copy(), exactly, np.arange(19))
    assert logits[16].argmax() == 0
    assert sorted(asked) == list(range(18))
