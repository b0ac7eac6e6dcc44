"""Preprocessing as users state it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from models.catalog.preprocessing import GivenPreprocessing


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
        ((0.485, 0.456, 0.406), (1 / 255, 1 / 255, 1 / 255)),
        ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    ],
)
def test_usual_values_are_taken(mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
    assert GivenPreprocessing(mean=mean, std=std).mean == mean


def test_values_for_pixels_to_255_are_refused_with_the_right_ones() -> None:
    with pytest.raises(ValidationError, match=r"from 0 to 1, so divide mean and std by 255: 0\.485, 0\.456, 0\.406"):
        GivenPreprocessing(mean=(123.675, 116.28, 103.53))
    with pytest.raises(ValidationError, match=r"by 255: 0\.229, 0\.224, 0\.225"):
        GivenPreprocessing(std=(58.395, 57.12, 57.375))
