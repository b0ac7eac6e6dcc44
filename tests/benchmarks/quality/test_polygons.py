"""Polygons of rendered images, against plane geometry."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.quality.canvas import MARGIN, SIDE
from benchmarks.quality.polygons import DISC, POINTERS, SHAPES, SQUARE, find_room, place, scatter


def compute_area(points: list[tuple[float, float]]) -> float:
    """Compute the area of a polygon by the shoelace formula."""
    x, y = np.array(points).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


@pytest.mark.parametrize("name", [*SHAPES, *POINTERS])
def test_shapes_fill_about_their_unit_circle(name: str) -> None:
    points = {**SHAPES, **POINTERS}[name]
    radii = [math.hypot(x, y) for x, y in points]
    assert 0.9 < max(radii) < 1.2
    assert 0.3 < compute_area(points) < math.pi


def test_a_shape_is_placed_turned_and_stretched() -> None:
    quarter = place([(1.0, 0.0)], (10.0, 20.0, 5.0), math.pi / 2)
    assert quarter == [(pytest.approx(10.0), pytest.approx(25.0))]
    assert compute_area(place(DISC, (0, 0, 10.0), 0.3, 0.5)) == pytest.approx(math.pi * 50, rel=0.01)
    assert compute_area(place(SQUARE, (7, 7, 2.0), 0.1)) == pytest.approx(8.0)


@pytest.mark.parametrize("name", POINTERS)
def test_pointers_point_along_the_x_axis(name: str) -> None:
    points = np.array(POINTERS[name])
    assert points[points[:, 0].argmax()] == pytest.approx([1.0, 0.0])
    assert points[:, 1].sum() == pytest.approx(0.0, abs=1e-9)


def test_scattered_circles_keep_apart_from_each_other_and_from_the_edge() -> None:
    random, kept = np.random.default_rng(0), (48.0, 48.0, 20.0)
    circles = [kept, *scatter(random, [9.0] * 6, [kept])]
    for number, (x, y, radius) in enumerate(circles):
        assert MARGIN + radius <= min(x, y)
        assert max(x, y) <= SIDE - MARGIN - radius
        for other_x, other_y, other_radius in circles[:number]:
            assert math.hypot(x - other_x, y - other_y) >= radius + other_radius + 3


def test_without_room_there_is_no_place_and_scattered_circles_shrink() -> None:
    random = np.random.default_rng(0)
    assert find_room(random, 20.0, [(48.0, 48.0, 40.0)]) is None
    assert max(radius for *_, radius in scatter(random, [25.0] * 4)) < 25
