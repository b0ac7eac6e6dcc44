"""Views: view 0 is timm's own, to the bit or nearly, the others are random and yet always the same."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from timm.data import create_transform

from models.catalog.augmentations import Augmentation, Colour, Crop, HorizontalFlip, Rotate
from models.features.trunk import Trunk
from models.images.preprocessing import Preprocessing
from models.images.views import Views
from tests.support.images import noise

PLAIN = Preprocessing((3, 32, 32), "bicubic", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), 0.875, "center")
DIGEST = hashlib.sha256(b"an image").digest()
POLICY: tuple[Augmentation, ...] = (Crop(), HorizontalFlip(), Colour(), Rotate())


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(90, 40), (20, 30), (32, 32)])
def test_view_0_is_timms_evaluation_transform_to_the_bit(
    crop_mode: str, interpolation: str, size: tuple[int, int]
) -> None:
    preprocessing = Preprocessing((3, 32, 32), interpolation, PLAIN.mean, PLAIN.std, 0.875, crop_mode)
    image = noise(1, *size)
    expected = create_transform(**preprocessing.to_dict(), is_training=False)(image)
    trunk = Trunk(torch.nn.Identity(), preprocessing, torch.device("cpu"))
    found = trunk(np.stack([Views(preprocessing, POLICY, exact=True).render(image, DIGEST, 0)]))
    assert torch.equal(torch.from_numpy(found)[0], expected)


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(90, 40), (20, 30), (32, 32), (641, 480)])
def test_where_it_need_not_be_exact_no_number_differs_by_more_than_two(
    crop_mode: str, interpolation: str, size: tuple[int, int]
) -> None:
    preprocessing = Preprocessing((3, 32, 32), interpolation, PLAIN.mean, PLAIN.std, 0.875, crop_mode)
    exact, quick = (
        Views(preprocessing, POLICY, exact=exact).render(noise(1, *size), DIGEST, 0).astype(int)
        for exact in (True, False)
    )
    assert np.abs(exact - quick).max() <= 2
    assert np.abs(exact - quick).mean() < 0.1


def test_a_view_is_the_same_every_time_and_another_for_each_number_image_and_policy() -> None:
    image = noise(1, 60, 50)
    views = Views(PLAIN, POLICY)
    first = views.render(image, DIGEST, 1)
    np.testing.assert_array_equal(Views(PLAIN, POLICY).render(image, DIGEST, 1), first)
    others = [
        views.render(image, DIGEST, 2),
        views.render(image, DIGEST[::-1], 1),
        Views(PLAIN, POLICY[:2]).render(image, DIGEST, 1),
        views.render(image, DIGEST, 0),
    ]
    assert all(other.shape == (3, 32, 32) for other in others)
    assert all((other != first).any() for other in others)


def test_without_augmentations_all_views_are_plain() -> None:
    views = Views(PLAIN, ())
    np.testing.assert_array_equal(views.render(noise(1), DIGEST, 3), views.render(noise(1), DIGEST, 0))


def test_the_digest_of_a_policy_tells_policies_apart() -> None:
    policies = [(), POLICY, POLICY[::-1], (Crop(min_area=0.5),), (Crop(min_area=0.6),)]
    assert len({Views(PLAIN, policy).policy for policy in policies}) == len(policies)
