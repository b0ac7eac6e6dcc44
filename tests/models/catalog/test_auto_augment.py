"""Policies: every operation is torchvision's own, and all are drawn equally often."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from torchvision.transforms import v2

from models.catalog.auto_augment import BINS, Operation, RandAugment, TrivialAugment, build_operations
from models.catalog.image_ops import compute_mean_colour
from tests.support.images import noise

if TYPE_CHECKING:
    from collections.abc import Mapping

SIDE = 48
WIDE = build_operations(tangent=0.99, width=32.0, height=32.0, degrees=135.0, colour=0.99, bits=6)
RAND = build_operations(tangent=0.3, width=150 / 331 * SIDE, height=150 / 331 * SIDE, degrees=30.0, colour=0.9, bits=4)
SPACES: list[tuple[type[Any], Mapping[str, Operation]]] = [(v2.TrivialAugmentWide, WIDE), (v2.RandAugment, RAND)]


def sample_image() -> Image.Image:
    """Neither all black nor all white, so that every operation shows."""
    return Image.fromarray((np.asarray(noise(1, SIDE, SIDE)) // 2 + 40).astype(np.uint8))


def theirs(name: str, magnitude: float) -> float:
    """The magnitude as torchvision counts it: of Posterize the bits that stay, of Solarize what is left alone."""
    return {"Posterize": 8 - round(magnitude), "Solarize": 1 - magnitude}.get(name, magnitude)


def magnitudes(operation: Operation, magnitude_bin: int) -> list[float]:
    """List the views that are equally likely in this bin."""
    magnitude = operation.largest * magnitude_bin / (BINS - 1)
    return [magnitude, -magnitude] if operation.is_signed else [magnitude]


@pytest.mark.parametrize(("reference", "space"), SPACES)
def test_operations_have_the_magnitudes_of_torchvision(reference: type[Any], space: Mapping[str, Operation]) -> None:
    assert list(space) == list(reference._AUGMENTATION_SPACE)
    for name, operation in space.items():
        of_bins, is_signed = reference._AUGMENTATION_SPACE[name]
        assert operation.is_signed == is_signed
        expected = of_bins(BINS, SIDE, SIDE)
        if expected is None:
            assert operation.largest == 0
            continue
        found = [theirs(name, magnitudes(operation, number)[0]) for number in range(BINS)]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize(("reference", "space"), SPACES)
def test_operations_do_what_torchvisions_do(reference: type[Any], space: Mapping[str, Operation], name: str) -> None:
    image = sample_image()
    fill = {Image.Image: list(compute_mean_colour(image))}
    for number in range(BINS):
        for magnitude in magnitudes(space[name], number):
            expected = reference()._apply_image_or_video_transform(
                image, name, theirs(name, magnitude), v2.InterpolationMode.BILINEAR, fill
            )
            np.testing.assert_array_equal(space[name].change(image, magnitude), expected)


def assert_drawn_equally(
    policy: TrivialAugment | RandAugment, space: Mapping[str, Operation], bins: range, draws: int
) -> None:
    """Every view is an operation's of the space, and those of each are as many as its share of the space.

    Views that several operations give, such as the image itself, are counted together.
    """
    image = sample_image()
    shares: dict[bytes, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for name, operation in space.items():
        for number in bins:
            for magnitude in (found := magnitudes(operation, number)):
                view = operation.change(image, magnitude).tobytes()
                shares[view][name] += 1 / (len(space) * len(bins) * len(found))
    groups = {view: " ".join(sorted(names)) for view, names in shares.items()}
    expected: dict[str, float] = defaultdict(float)
    for view, names in shares.items():
        expected[groups[view]] += draws * sum(names.values())
    counts: dict[str, int] = defaultdict(int)
    seen = set()
    random = np.random.default_rng(0)
    for _ in range(draws):
        view = policy.apply(image, random).tobytes()
        counts[groups[view]] += 1
        seen.add(view)
    # Of about 15 groups, chi-square exceeds 45 once in 30 000 times.
    assert 12 < len(expected) < 20
    assert sum((counts[group] - often) ** 2 / often for group, often in expected.items()) < 45
    assert seen == set(shares)


def test_trivial_augment_draws_every_operation_and_magnitude_equally() -> None:
    assert_drawn_equally(TrivialAugment(), WIDE, range(BINS), 12_000)


@pytest.mark.parametrize("magnitude", [9, 30])
def test_rand_augment_draws_every_operation_equally_at_its_magnitude(magnitude: int) -> None:
    policy = RandAugment(num_ops=1, magnitude=magnitude)
    assert_drawn_equally(policy, RAND, range(magnitude, magnitude + 1), 2000)


def test_rand_augment_applies_one_operation_after_the_other() -> None:
    image = sample_image()
    for seed in range(50):
        random = np.random.default_rng(seed)
        stepwise = image
        for _ in range(3):
            stepwise = RandAugment(num_ops=1).apply(stepwise, random)
        found = RandAugment(num_ops=3).apply(image, np.random.default_rng(seed))
        np.testing.assert_array_equal(found, stepwise)


def test_rand_augment_shifts_by_shares_of_width_and_height() -> None:
    image = Image.new("RGB", (200, 100))
    image.putpixel((100, 50), (255, 255, 255))
    random = np.random.default_rng(0)
    policy = RandAugment(num_ops=1, magnitude=15)
    places = set()
    for _ in range(300):
        shown = np.asarray(policy.apply(image, random)).sum(2)
        if shown.max() == 765 and (shown > 0).sum() == 1:
            y, x = np.unravel_index(shown.argmax(), shown.shape)
            places.add((x - 100, y - 50))
    assert {(45, 0), (-45, 0), (0, 22), (0, -22)} <= places


@pytest.mark.parametrize("fields", [{"num_ops": 0}, {"magnitude": 31}, {"magnitude": -1}, {"num_ops": 15}])
def test_ranges_are_held(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RandAugment.model_validate(fields)
