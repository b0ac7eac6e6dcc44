"""Ranges of pixels, by the normalization that a network begins with."""

from __future__ import annotations

import pytest

from models.conversion.pixel_range import find_largest_pixel

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("largest", [255.0, 1.0])
@pytest.mark.parametrize(("mean", "std"), [(MEAN, STD), (MEAN[::-1], STD[::-1]), ((0.5,) * 3, (0.5,) * 3)])
def test_means_of_images_tell_the_range(largest: float, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    slope = [1 / (one * largest) for one in std]
    shift = [-one / deviation for one, deviation in zip(mean, std, strict=True)]
    assert find_largest_pixel(slope, shift) == largest


def test_whole_pixels_made_fractions() -> None:
    assert find_largest_pixel([1 / 255], [0.0]) == 255.0


def test_means_of_caffe() -> None:
    assert find_largest_pixel([1.0], [-103.939, -116.779, -123.68]) == 255.0


def test_a_factor_alone_tells_nothing() -> None:
    """The mean may have been subtracted from the images before."""
    assert find_largest_pixel([1 / one for one in STD], [0.0]) is None
    assert find_largest_pixel([1 / (255 * one) for one in STD], [0.0]) is None


def test_images_from_minus_one_are_not_those_from_zero() -> None:
    """((x + 1)/2 - mean)/std has a slope that images from 0 to 1 have, too."""
    slope = [0.5 / one for one in STD]
    shift = [(0.5 - one) / deviation for one, deviation in zip(MEAN, STD, strict=True)]
    assert find_largest_pixel(slope, shift) is None


@pytest.mark.parametrize(("slope", "shift"), [([1.0], [0.0]), ([-1 / 255], [1.0]), ([1.0], [127.5]), ([2.0], [0.0])])
def test_other_arithmetic_tells_nothing(slope: list[float], shift: list[float]) -> None:
    assert find_largest_pixel(slope, shift) is None
