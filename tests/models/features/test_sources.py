"""Walks over cached features: computed once, read in batches of any size and order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from models.features import sources
from models.features.cache import FeatureCache
from models.features.sources import CachedFeatures
from models.features.store import FeatureStore
from models.features.trunk import Trunk
from models.images.views import Views
from tests.support.small_pack import PREPROCESSING, Corner, small_pack

if TYPE_CHECKING:
    from pathlib import Path

    from models.datasets.pack import Pack

ORDER = np.random.default_rng(0).integers(0, 12, 103)


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """12 images."""
    return small_pack(tmp_path, classes=3, each=4)


def opened(pack: Pack, folder: Path) -> CachedFeatures:
    store = FeatureStore(FeatureCache(folder / "cache"), {}, (12,), np.dtype(np.float16))
    trunk = Trunk(Corner(), PREPROCESSING, torch.device("cpu"))
    return CachedFeatures(pack, Views(PREPROCESSING, ()), trunk, lambda _: store)


@pytest.mark.parametrize("read_bytes", [1, 24 * 7 * 3, 1 << 20])
@pytest.mark.parametrize("is_cached", [False, True])
def test_a_walk_gives_the_row_of_each_image_where_it_stands(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_cached: bool, read_bytes: int
) -> None:
    monkeypatch.setattr(sources, "READ_BYTES", read_bytes)
    expected = opened(pack, tmp_path / "other").all(np.arange(12), 0)
    if is_cached:
        opened(pack, tmp_path).all(np.arange(12), 0)
    source = opened(pack, tmp_path)
    walk = list(source.batches(ORDER, 0, 7))
    assert [len(images) for images, _ in walk] == [7] * 14 + [5]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in walk]), ORDER)
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in walk]), expected[ORDER])
    computed = 0 if is_cached else 12
    assert (source.counts.misses, source.counts.hits) == (computed, 103 - computed)
    assert source.missing(ORDER, 0) == 0


def test_hits_are_counted_as_they_are_given(pack: Pack, tmp_path: Path) -> None:
    source = opened(pack, tmp_path)
    source.all(np.arange(12), 0)
    before = source.counts.hits
    walk = source.batches(ORDER, 0, 7)
    next(walk)
    next(walk)
    assert source.counts.hits - before == 14


def test_a_walk_that_was_left_is_taken_up_where_others_have_gone_on(pack: Pack, tmp_path: Path) -> None:
    source, other = opened(pack, tmp_path), opened(pack, tmp_path)
    for images, _ in source.batches(np.arange(12), 0, 4):
        if images[0] == 4:
            break
    there = 12 - source.missing(np.arange(12), 0)
    assert there >= 8
    assert other.missing(np.arange(12), 0) == 12, "it was opened before"
    rows = other.all(np.arange(12), 0)
    assert other.counts.hits == there
    np.testing.assert_array_equal(source.all(np.arange(12), 0), rows)
    assert source.counts.misses == 8, "it computes no more"
