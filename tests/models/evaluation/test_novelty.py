"""Novelty detection: distances by hand, statistics that stack, and images that are told apart."""

from __future__ import annotations

import numpy as np
import pytest

from models.evaluation.novelty import LEVELS, ClassStatistics, StackedStatistics, fit, project

SIGNS = ("-+-+-+++--+-----", "+---+-+--+++--+-")
"""Of the first numbers of the first of 1,280 features, and of the last of the last."""


def make_clouds(seed: int, centres: np.ndarray, each: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw features around centres, with their classes."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(centres)), each)
    return centres[labels] + spread * random.normal(size=(len(labels), centres.shape[1])), labels


def test_the_novelty_is_the_least_distance_in_units_of_the_threshold() -> None:
    means, directions = np.array([[100, 0, 0], [0, 100, 0]], np.int8), np.array([[0, 0, 50]], np.int8)
    fitted = ClassStatistics(means, 0.01, directions, 0.01, threshold=0.5)
    image = np.array([[1.0, 0.2, 0.4]])
    # From (1, 0, 0): 0.04 + 0.16, less (0.5·0.4)² along the direction; 1 + 0.64 + 0.16 - 0.04 from the other.
    (novelty,) = StackedStatistics([fitted]).measure(image)[:, 0]
    assert novelty == pytest.approx((0.04 + 0.16 - 0.04) / 0.5, rel=1e-5)


def test_statistics_of_many_models_are_measured_as_each_alone() -> None:
    random = np.random.default_rng(1)
    models = []
    for classes, size in ((2, 30), (7, 60), (1, 5), (3, 3)):
        rows = random.normal(size=(size, 16))
        models.append(fit(rows, np.arange(size) % classes, random.normal(size=(20, 16))))
    images = random.normal(size=(9, 16))
    together = StackedStatistics(models).measure(images)
    alone = np.column_stack([StackedStatistics([model]).measure(images)[:, 0] for model in models])
    assert np.allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_length_does_not_count_and_distances_are_kept() -> None:
    features = np.random.default_rng(2).normal(size=(50, 1280))
    projected = project(features)
    assert projected.shape == (50, 128)
    assert np.allclose(project(7 * features), projected, atol=1e-6)
    assert np.square(projected).sum(1) == pytest.approx(1.0, abs=0.5)
    assert project(np.zeros((1, 192))).shape == (1, 64)
    small = project(np.array([[3.0, 4.0]]))
    assert small == pytest.approx(np.array([[0.6, 0.8]])), "few features are not projected"


def test_the_projection_is_the_same_for_ever() -> None:
    projected = project(np.eye(1280, dtype=np.float32)[[0, 1279]])
    signs = np.sign(projected)
    assert "".join("-+"[int(sign > 0)] for sign in signs[0, :16]) == SIGNS[0]
    assert "".join("-+"[int(sign > 0)] for sign in signs[1, -16:]) == SIGNS[1]


def test_what_is_like_no_class_is_told_from_what_is() -> None:
    random = np.random.default_rng(3)
    centres = random.normal(size=(5, 200)) + 1
    training, labels = make_clouds(4, centres, 40, 0.5)
    held_out, _ = make_clouds(5, centres, 30, 0.5)
    new, _ = make_clouds(6, centres, 200, 0.5)
    strange, _ = make_clouds(7, random.normal(size=(5, 200)) + 1, 200, 0.5)
    model = StackedStatistics([fit(project(training), labels, project(held_out))])
    assert (model.measure(project(held_out)) <= 1).mean() >= 0.99
    assert (model.measure(project(new)) > 1).mean() < 0.05
    assert (model.measure(project(strange)) > 1).mean() > 0.95


def test_directions_of_great_variance_count_less() -> None:
    random = np.random.default_rng(8)
    spread = np.array([1.0, *[0.01] * 15])
    training, held_out = random.normal(size=(200, 16)) * spread, random.normal(size=(100, 16)) * spread
    model = StackedStatistics([fit(training, np.zeros(200, int), held_out)])
    along, across = model.measure(np.eye(16)[:2])[:, 0]
    assert across > 10 * along


def test_images_of_several_labels_or_none_have_their_means() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.float32)
    fitted = fit(rows, labels, rows)
    means = fitted.means * fitted.mean_unit
    assert means == pytest.approx(np.array([[1.0, 0.5], [0.5, 1.0], [-1.0, -1.0]]), abs=1 / LEVELS)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_handful_of_images_is_enough(size: int) -> None:
    rows = np.random.default_rng(9).normal(size=(size, 8))
    model = StackedStatistics([fit(rows, np.arange(size), rows[:1])])
    assert model.measure(rows[:1])[0, 0] <= 1
    assert model.measure(-10 * rows[:1])[0, 0] > 1


def test_equal_images_are_known_and_others_are_not() -> None:
    rows = np.full((10, 8), 0.25)
    model = StackedStatistics([fit(rows, np.zeros(10, int), rows)])
    known, other = model.measure(np.stack([rows[0], -rows[0]]))[:, 0]
    assert known <= 1 < other
