"""Augmentations of batches: what is mixed, in which shares, and with whom."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch

from models.catalog.augmentations import Augmentation
from models.catalog.mixup import BatchAugmentation, CutMix, FeatureNoise, Mixup
from models.catalog.technique import members
from tests.support.distributions import assert_counts, assert_drawn_from, normal, uniform

MIXES: list[Any] = [member for member in members(Augmentation) if issubclass(member, BatchAugmentation)]

every_mix = pytest.mark.parametrize("technique", MIXES)


def images(count: int = 4, height: int = 12, width: int = 10) -> torch.Tensor:
    """Each of one number, its place in the batch: (count, 3, height, width)."""
    return torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(count, 3, height, width).contiguous()


def arcsine(share: float) -> float:
    """The cumulative distribution of Beta(1/2, 1/2)."""
    return 2 / math.pi * math.asin(math.sqrt(share))


def smoothstep(share: float) -> float:
    """The cumulative distribution of Beta(2, 2)."""
    return share * share * (3 - 2 * share)


BETAS = [(1.0, uniform(0.0, 1.0)), (0.5, arcsine), (2.0, smoothstep)]


@every_mix
def test_the_seed_decides_and_the_batch_stays_as_it_was(technique: type[Any]) -> None:
    given = images()
    torch.manual_seed(0)
    first = technique().mix(given)
    torch.manual_seed(0)
    second = technique().mix(given)
    assert torch.equal(first.rows, second.rows)
    assert torch.equal(given, images())
    assert first.rows.shape == given.shape


@every_mix
def test_every_order_of_partners_is_equally_likely(technique: type[Any]) -> None:
    torch.manual_seed(0)
    counts = Counter(tuple(technique().mix(images()).partners.tolist()) for _ in range(2400))
    assert set(counts) == set(permutations(range(4)))
    assert_counts(list(counts.values()), [1 / 24] * 24)


@every_mix
@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 5.0, 100.0])
def test_the_mean_of_a_image_is_as_its_share_says(technique: type[Any], alpha: float) -> None:
    """Loss and rows are mixed alike: the mean of x̃ is share·x + (1 - share)·x[partner]."""
    torch.manual_seed(0)
    for _ in range(50):
        mixed = technique(alpha=alpha).mix(images())
        places = torch.arange(4)
        expected = mixed.share * places + (1 - mixed.share) * places[mixed.partners]
        torch.testing.assert_close(mixed.rows.mean((1, 2, 3)), expected)
        assert 0 <= mixed.share <= 1


@pytest.mark.parametrize("shape", [(5, 7), (5, 3, 4, 6)])
def test_mixup_is_its_formula(shape: tuple[int, ...]) -> None:
    rows = torch.randn(shape)
    mixed = Mixup(alpha=1.0).mix(rows)
    torch.testing.assert_close(mixed.rows, mixed.share * rows + (1 - mixed.share) * rows[mixed.partners])


@pytest.mark.parametrize(("alpha", "cumulative"), BETAS)
def test_the_share_of_mixup_is_beta_distributed(alpha: float, cumulative: Any) -> None:
    torch.manual_seed(0)
    shares = [Mixup(alpha=alpha).mix(torch.zeros(1, 1)).share for _ in range(2000)]
    assert_drawn_from(shares, cumulative)


@pytest.mark.parametrize("alpha", [0.01, 0.2, 10.0, 100.0])
def test_the_share_of_mixup_has_betas_mean_and_variance(alpha: float) -> None:
    torch.manual_seed(0)
    shares = np.array([Mixup(alpha=alpha).mix(torch.zeros(1, 1)).share for _ in range(3000)])
    variance = 1 / (4 * (2 * alpha + 1))
    assert shares.mean() == pytest.approx(0.5, abs=4 * math.sqrt(variance / 3000))
    assert shares.var() == pytest.approx(variance, rel=0.1)


def boxes(alpha: float, count: int, height: int, width: int) -> list[tuple[int, int, int, int]]:
    """Top, left, height and width of what CutMix cuts from image 0 where that has another partner."""
    torch.manual_seed(0)
    found = []
    for _ in range(count):
        mixed = CutMix(alpha=alpha).mix(images(2, height, width))
        if mixed.partners[0] == 0:
            continue
        rows, columns = (place.tolist() for place in torch.nonzero(mixed.rows[0, 0], as_tuple=True))
        if not rows:
            assert mixed.share == 1.0
            continue
        box = min(rows), min(columns), max(rows) + 1 - min(rows), max(columns) + 1 - min(columns)
        assert len(rows) == box[2] * box[3], "a whole rectangle"
        assert mixed.share == pytest.approx(1 - len(rows) / (height * width))
        found.append(box)
    return found


def test_cutmix_shows_a_rectangle_of_the_partner_and_says_its_share() -> None:
    found = boxes(1.0, 300, 40, 60)
    assert len(found) > 100
    inner = [box for box in found if box[0] > 0 and box[1] > 0 and box[0] + box[2] < 40 and box[1] + box[3] < 60]
    shapes = [(height / 40, width / 60) for _, _, height, width in inner]
    assert all(abs(high - wide) < 0.05 for high, wide in shapes), "of the image's own shape"


def test_the_share_of_cutmix_is_beta_distributed_before_the_borders_take_theirs() -> None:
    """λ uniform is a side s = √(1 - λ) of density 2s; no border clips it in 1 - s of the cases: s ~ Beta(2, 2)."""
    found = boxes(1.0, 2000, 100, 100)
    sides = [high / 100 for top, _, high, _ in found if top > 0 and top + high < 100]
    assert len(sides) > 250
    assert_drawn_from(sides, smoothstep)


def test_the_borders_take_as_much_of_cutmix_as_they_should() -> None:
    """Borders cut s²/4 off a side s on average: a part of ∫(√u - u/4)² du = 77/240 is left, u = 1 - λ uniform."""
    torch.manual_seed(0)
    shares = [CutMix().mix(torch.zeros(1, 1, 100, 100)).share for _ in range(4000)]
    assert np.mean(shares) == pytest.approx(1 - 77 / 240, abs=0.015)


def test_the_middle_of_cutmix_is_anywhere() -> None:
    """With λ near a half, sides are 0.707 of the image's: the end that no border clips says where the middle was."""
    found = boxes(100.0, 2000, 100, 100)
    down = [(top + high - 35.4 if top == 0 else top + 35.4) / 100 for top, _, high, _ in found]
    right = [(left + wide - 35.4 if left == 0 else left + 35.4) / 100 for _, left, _, wide in found]
    assert_drawn_from(down, uniform(0.0, 1.0))
    assert_drawn_from(right, uniform(0.0, 1.0))
    assert abs(np.corrcoef(down, right)[0, 1]) < 0.12


def test_feature_noise_is_normal_and_independent() -> None:
    torch.manual_seed(0)
    features = torch.randn(200, 30)
    noise = FeatureNoise(std=0.3).perturb(features) - features
    assert_drawn_from(noise, normal(0.3))
    assert noise.std().item() == pytest.approx(0.3, rel=0.03)
    assert np.abs(np.corrcoef(noise.T) - np.eye(30)).max() < 0.3
    assert not torch.equal(noise, FeatureNoise(std=0.3).perturb(features) - features), "drawn anew"


def test_images_are_needed_by_cutmix_alone() -> None:
    assert [member for member in MIXES if member.needs_images] == [CutMix]
