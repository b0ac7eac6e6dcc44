"""Augmentations of images: what all of them promise, and the distribution of all that each one draws."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torchvision.transforms.v2 import functional

from models.catalog.augmentations import (
    Augmentation,
    Blur,
    Colour,
    Crop,
    Erase,
    Grayscale,
    HorizontalFlip,
    Perspective,
    Resize,
    Rotate,
    Shift,
    VerticalFlip,
)
from models.catalog.image_ops import ImageAugmentation, compute_mean_colour
from models.catalog.technique import members
from tests.support.images import noise

if TYPE_CHECKING:
    from collections.abc import Sequence

MEMBERS: list[type[Any]] = [member for member in members(Augmentation) if issubclass(member, ImageAugmentation)]
GREY = (127, 127, 127)


def views(augmentation: ImageAugmentation, image: Image.Image, count: int) -> list[np.ndarray]:
    """Apply an augmentation to `image` again and again, with one generator."""
    random = np.random.default_rng(0)
    return [np.asarray(augmentation.apply(image, random)) for _ in range(count)]


def assert_uniform(values: Sequence[float], low: float, high: float, rounding: float = 0.0) -> None:
    """All within the range, and mean and deviation as they should be, within four standard errors."""
    found, width = np.array(values), high - low
    assert found.min() >= low - rounding
    assert found.max() <= high + rounding
    assert found.mean() == pytest.approx((low + high) / 2, abs=4 * width / math.sqrt(12 * len(found)) + rounding / 4)
    assert found.std() == pytest.approx(width / math.sqrt(12), abs=width / math.sqrt(4 * len(found)) + rounding / 4)


@pytest.mark.parametrize("member", MEMBERS)
def test_the_same_generator_makes_the_same_view_in_any_thread(member: type[Any]) -> None:
    image = noise(1, 50, 40)
    before = image.tobytes(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()

    def rendered(seed: int) -> bytes:
        return bytes(member().apply(image, np.random.default_rng(seed)).tobytes())

    alone = [rendered(seed) for seed in range(40)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(rendered, range(40))) == alone
    assert len(set(alone)) > 1
    assert (image.tobytes(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()) == before


@pytest.mark.parametrize("size", [(8, 8), (16, 400), (400, 16), (33, 50)])
@pytest.mark.parametrize("member", MEMBERS)
def test_size_and_mode_stay(member: type[Any], size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    changed = [member().apply(noise(1, *size), random) for _ in range(50)]
    assert {view.mode for view in changed} == {"RGB"}
    assert member.before_resize or {view.size for view in changed} == {size}


def test_only_crops_come_before_the_resize() -> None:
    assert [member.__name__ for member in MEMBERS if member.before_resize] == ["Crop"]


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("member", [m for m in MEMBERS if "probability" in m.model_fields])
def test_as_many_views_change_as_the_probability_says(member: type[Any], probability: float) -> None:
    image = noise(1)
    changed = [(view != np.asarray(image)).any() for view in views(member(probability=probability), image, 1000)]
    assert np.mean(changed) == pytest.approx(probability, abs=0.05 if probability == 0.3 else 0)


@pytest.mark.parametrize(
    ("member", "fields"),
    [
        (Shift, {"horizontal": 1.0}),
        (Resize, {"min_factor": 2.0}),
        (Resize, {"min_factor": 0.0}),
        (Blur, {"min_sigma": 3.0, "max_sigma": 1.0}),
        (Blur, {"min_sigma": 0.0}),
        (Erase, {"min_area": 0.5}),
        (Erase, {"max_area": 1.1}),
        (Erase, {"max_aspect": 0.5}),
        (Erase, {"fill": "black"}),
        (Perspective, {"distortion": 1.0}),
        (VerticalFlip, {"probability": 1.1}),
        (Grayscale, {"probability": -0.1}),
    ],
)
def test_ranges_are_held(member: type[Any], fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        member.model_validate(fields)


def test_an_empty_range_is_answered_by_what_to_do() -> None:
    with pytest.raises(ValidationError, match="min_sigma is above max_sigma; lower min_sigma or raise max_sigma"):
        Blur(min_sigma=3.0)
    assert Blur(min_sigma=2.0).max_sigma == 2.0


def test_shifts_are_uniform_in_whole_pixels_and_open_on_the_mean_colour() -> None:
    image = Image.new("RGB", (101, 61), GREY)
    image.putpixel((50, 30), (255, 255, 255))
    found = views(Shift(horizontal=0.4, vertical=0.2), image, 1000)
    places = np.array([np.unravel_index(view[..., 0].argmax(), view.shape[:2]) for view in found])
    assert_uniform((places[:, 1] - 50).tolist(), -40.4, 40.4, rounding=0.5)
    assert_uniform((places[:, 0] - 30).tolist(), -12.2, 12.2, rounding=0.5)
    assert all(set(np.unique(view)) == {127, 255} for view in found)


def test_a_shift_is_torchvisions() -> None:
    image = noise(1, 40, 40)
    for seed in range(20):
        right, down = np.random.default_rng(seed).uniform(-0.3, 0.3, 2)
        expected = functional.affine(
            image, 0.0, [round(40 * right), round(40 * down)], 1.0, [0.0, 0.0], fill=compute_mean_colour(image)
        )
        found = Shift(horizontal=0.3, vertical=0.3).apply(image, np.random.default_rng(seed))
        np.testing.assert_array_equal(found, expected)


def test_factors_are_uniform_in_their_logarithm() -> None:
    image = Image.new("RGB", (201, 201))
    image.paste((255, 255, 255), (60, 60, 141, 141))
    found = views(Resize(min_factor=0.5, max_factor=2.0), image, 1000)
    ground = compute_mean_colour(image)[0]
    shares = [(view[100, :, 0] > 160).sum() / 81 for view in found]
    assert_uniform(np.log(shares).tolist(), math.log(0.5), math.log(2.0), rounding=0.03)
    small = found[int(np.argmin(shares))]
    assert (small[0] == ground).all()
    np.testing.assert_allclose(small[..., 0].astype(int), small[::-1, ::-1, 0], atol=30)


def test_a_vertical_flip_turns_upside_down() -> None:
    image = noise(1)
    flipped = VerticalFlip(probability=1.0).apply(image, np.random.default_rng(0))
    np.testing.assert_array_equal(flipped, np.flipud(np.asarray(image)))
    twice = HorizontalFlip(probability=1.0).apply(flipped, np.random.default_rng(0))
    np.testing.assert_array_equal(twice, np.rot90(np.asarray(image), 2))


def test_grayscale_weighs_the_channels_as_its_formula_says() -> None:
    image = noise(1)
    grey = np.asarray(Grayscale(probability=1.0).apply(image, np.random.default_rng(0)))
    assert (grey == grey[..., :1]).all()
    np.testing.assert_allclose(grey[..., 0], np.asarray(image) @ [0.299, 0.587, 0.114], atol=1)
    np.testing.assert_array_equal(grey, functional.rgb_to_grayscale(image, 3))


def test_blurs_have_the_sigma_that_they_draw() -> None:
    step = Image.new("RGB", (121, 9))
    step.paste((255, 255, 255), (60, 0, 121, 9))
    sigmas = []
    for view in views(Blur(min_sigma=1.0, max_sigma=5.0, probability=1.0), step, 1000):
        slope = np.diff(view[4, :, 0].astype(float)) / 255
        places = np.arange(120) - 59
        sigmas.append(math.sqrt((slope * places**2).sum() - (slope * places).sum() ** 2))
    assert_uniform(sigmas, 1.0, 5.0, rounding=0.2)


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_a_blur_is_nearly_torchvisions(sigma: float) -> None:
    image = noise(1, 64, 64)
    found = Blur(min_sigma=sigma, max_sigma=sigma, probability=1.0).apply(image, np.random.default_rng(0))
    expected = functional.gaussian_blur(image, [25, 25], [sigma, sigma])
    inner = np.s_[12:-12, 12:-12]
    assert np.abs(np.asarray(found, float) - np.asarray(expected, float))[inner].max() < 6


def erased(augmentation: Erase, size: tuple[int, int]) -> np.ndarray:
    """Left, top, width and height of what 1000 views erase, (1000, 4)."""
    image = Image.new("RGB", size)
    image.putpixel((0, 0), (255, 255, 255))
    boxes = []
    for view in views(augmentation, image, 1000):
        rows, columns = np.nonzero((view != np.asarray(image)).any(2))
        top, left = rows.min(), columns.min()
        boxes.append((left, top, columns.max() + 1 - left, rows.max() + 1 - top))
    return np.array(boxes)


def test_erased_parts_have_the_areas_shapes_and_places_that_they_say() -> None:
    erase = Erase(probability=1.0, min_area=0.05, max_area=0.2, max_aspect=2.0)
    left, top, width, height = erased(erase, (200, 160)).T
    assert_uniform((width * height / (200 * 160)).tolist(), 0.05, 0.2, rounding=0.002)
    assert_uniform(np.log(width / height).tolist(), -math.log(2), math.log(2), rounding=0.05)
    assert_uniform((left / (200 - width)).tolist(), 0.0, 1.0, rounding=0.02)
    assert_uniform((top / (160 - height)).tolist(), 0.0, 1.0, rounding=0.02)


@pytest.mark.parametrize("size", [(400, 20), (20, 400)])
def test_erased_areas_hold_in_elongated_images(size: tuple[int, int]) -> None:
    boxes = erased(Erase(probability=1.0, min_area=0.3, max_area=0.5), size)
    assert_uniform((boxes[:, 2] * boxes[:, 3] / 8000).tolist(), 0.3, 0.5, rounding=0.02)


def test_erased_parts_show_noise_or_the_mean_colour_and_the_rest_stays() -> None:
    image = Image.new("RGB", (100, 100), (10, 20, 30))
    image.paste((200, 200, 200), (0, 0, 100, 50))
    whole = {"probability": 1.0, "min_area": 0.9, "max_area": 0.9, "max_aspect": 1.0}
    by_noise = views(Erase.model_validate(whole), image, 1)[0]
    counts = np.bincount(by_noise.ravel(), minlength=256)
    counts[[10, 20, 30, 200]] = counts.mean()
    assert counts.min() > 0
    assert counts.max() < 200
    by_mean = views(Erase.model_validate({**whole, "fill": "mean"}), image, 1)[0]
    changed = (by_mean != np.asarray(image)).any(2)
    assert changed.mean() == pytest.approx(0.9, abs=0.01)
    assert (by_mean[changed] == compute_mean_colour(image)).all()


def test_corners_move_inwards_as_far_as_the_distortion_says() -> None:
    across, down = np.meshgrid(np.arange(200), np.arange(100))
    image = Image.fromarray(np.stack([across, 2 * down, 0 * down], 2).astype(np.uint8))
    moves: list[tuple[float, float]] = []
    for view in views(Perspective(distortion=0.4, probability=1.0), image, 400):
        right, low = view[..., 0].astype(float), view[..., 1].astype(float)
        for sign_x, sign_y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            y, x = np.unravel_index((sign_x * right + sign_y * low).argmin(), right.shape)
            moves.append((x if sign_x > 0 else 199 - x, y if sign_y > 0 else 99 - y))
    assert_uniform([dx for dx, _ in moves], 0, 40, rounding=1.5)
    assert_uniform([dy for _, dy in moves], 0, 20, rounding=1.5)


def test_a_perspective_is_torchvisions() -> None:
    image = noise(1, 60, 40)
    random = np.random.default_rng(3)
    found = Perspective(distortion=0.5, probability=1.0).apply(image, random)
    random = np.random.default_rng(3)
    random.random()
    (a, b), (c, d), (e, f), (g, h) = random.integers(0, (15, 10), (4, 2), endpoint=True).tolist()
    starts = [[0, 0], [59, 0], [59, 39], [0, 39]]
    ends = [[a, b], [59 - c, d], [59 - e, 39 - f], [g, 39 - h]]
    np.testing.assert_array_equal(found, functional.perspective(image, starts, ends, fill=compute_mean_colour(image)))


@pytest.mark.parametrize("size", [(400, 400), (400, 300), (200, 800), (600, 30)])
def test_crops_have_the_areas_and_shapes_that_they_say(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    image = Image.new("RGB", size)
    own = size[0] / size[1]
    parts = [Crop(min_area=0.25, max_aspect=2.0).apply(image, random) for _ in range(4000)]
    areas = np.array([part.width * part.height for part in parts]) / (size[0] * size[1])
    assert_uniform(areas.tolist(), 0.25, 1.0, rounding=2 / min(size))
    aspects = np.log([part.width / part.height for part in parts])
    rounding = 3 / min(size)
    low, high = (np.clip(np.log(limit), np.log(own * areas), np.log(own / areas)) for limit in (0.5, 2.0))
    assert (aspects > low - rounding).all()
    assert (aspects < high + rounding).all()
    free = high - low > 0.5
    if free.any():
        drawn = (aspects - low)[free] / (high - low)[free]
        assert_uniform(drawn.tolist(), 0.0, 1.0, rounding=0.1)


def test_flips_mirror_as_often_as_they_say() -> None:
    image = noise(1)
    mirrored, plain = np.asarray(image)[:, ::-1], np.asarray(image)
    found = views(HorizontalFlip(probability=0.3), image, 1000)
    flipped = sum(bool((view == mirrored).all()) for view in found)
    assert flipped + sum(bool((view == plain).all()) for view in found) == 1000
    assert flipped == pytest.approx(300, abs=45)


def test_colours_change_within_their_strengths() -> None:
    grey = Image.new("RGB", (8, 8), (100, 100, 100))
    found = views(Colour(brightness=0.4, contrast=0.0, saturation=0.0), grey, 2000)
    assert_uniform([view.mean() for view in found], 60, 140, rounding=1.0)


@pytest.mark.parametrize("channel", ["contrast", "saturation"])
def test_contrast_and_saturation_scale_what_they_should(channel: str) -> None:
    """The distance from the mean grey, and from each pixel's own grey."""
    image = Image.new("RGB", (2, 1), (80, 80, 80))
    image.putpixel((1, 0), (180, 120, 120))
    none = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
    found = views(Colour.model_validate({**none, channel: 0.5}), image, 1000)
    if channel == "contrast":
        factors = [(float(view[0, 1, 0]) - float(view[0, 0, 0])) / 100 for view in found]
    else:
        factors = [(float(view[0, 1, 0]) - float(view[0, 1, 1])) / 60 for view in found]
    assert_uniform(factors, 0.5, 1.5, rounding=0.05)


def test_rotations_are_uniform_within_their_degrees() -> None:
    image = Image.new("RGB", (65, 65))
    image.paste((255, 255, 255), (32, 0, 33, 32))
    angles = []
    rows, columns = np.mgrid[:65, :65] - 32
    for view in views(Rotate(degrees=30.0), image, 400):
        turned = np.where(view[..., 0] > 120, view[..., 0], 0).astype(float)
        angles.append(math.degrees(math.atan2((turned * columns).sum(), -(turned * rows).sum())))
    assert_uniform(angles, -30, 30, rounding=1.0)
