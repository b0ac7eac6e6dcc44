"""Pooling: which stages are read, and over which grids their maps are averaged."""

from __future__ import annotations

import pytest

from models.catalog.pooling import Depths


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((16, 112, 112), (8, 8)),
        ((24, 56, 56), (6, 6)),
        ((320, 7, 7), (1, 1)),
        ((192, 14, 14), (2, 2)),
        ((16, 3, 5), (3, 5)),
        ((16, 2, 100), (2, 32)),
        ((2048, 7, 7), (1, 1)),
    ],
    ids=["√(1024/16)", "√(1024/24)", "one cell", "two a side", "each position", "long", "more channels than numbers"],
)
def test_a_grid_is_the_finest_with_no_more_features(shape: tuple[int, int, int], grid: tuple[int, int]) -> None:
    assert Depths(numbers=1024).choose_grid(*shape) == grid


@pytest.mark.parametrize(
    ("count", "places"),
    [(12, [1, 4, 6, 9, 11]), (5, [0, 1, 2, 3, 4]), (3, [0, 1, 2]), (1, [0]), (0, [])],
)
def test_stages_are_evenly_spread_up_to_the_topmost(count: int, places: list[int]) -> None:
    assert Depths(stages=5).choose_stages(count) == places
