"""Cached features: computed once, read in batches of any size and order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from models.features import sources
from models.features.cache import FeatureCache
from models.features.engines import eager
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
    """A pack of 12 images."""
    return small_pack(tmp_path, classes=3, each=4)


def open_source(pack: Pack, folder: Path) -> CachedFeatures:
    store = FeatureStore(FeatureCache(folder / "cache"), {}, (12,), np.dtype(np.float16))
    trunk = Trunk(Corner(), PREPROCESSING, torch.device("cpu"))
    return CachedFeatures(pack, Views(PREPROCESSING, ()), trunk, lambda _: store)


@pytest.mark.parametrize("read_bytes", [1, 24 * 7 * 3, 1 << 20])
@pytest.mark.parametrize("is_cached", [False, True])
def test_batches_hold_the_row_of_each_image_in_order(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_cached: bool, read_bytes: int
) -> None:
    monkeypatch.setattr(sources, "READ_BYTES", read_bytes)
    expected = open_source(pack, tmp_path / "other").read_all(np.arange(12), 0)
    if is_cached:
        open_source(pack, tmp_path).read_all(np.arange(12), 0)
    source = open_source(pack, tmp_path)
    batches = list(source.read_batches(ORDER, 0, 7))
    assert [len(images) for images, _ in batches] == [7] * 14 + [5]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), ORDER)
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in batches]), expected[ORDER])
    computed = 0 if is_cached else 12
    assert (source.counts.misses, source.counts.hits) == (computed, 103 - computed)
    assert source.count_missing(ORDER, 0) == 0


def test_hits_are_counted_batch_by_batch(pack: Pack, tmp_path: Path) -> None:
    source = open_source(pack, tmp_path)
    source.read_all(np.arange(12), 0)
    before = source.counts.hits
    batches = source.read_batches(ORDER, 0, 7)
    next(batches)
    next(batches)
    assert source.counts.hits - before == 14


def test_an_abandoned_read_leaves_its_rows_to_others_and_resumes_with_theirs(pack: Pack, tmp_path: Path) -> None:
    source, other = open_source(pack, tmp_path), open_source(pack, tmp_path)
    for images, _ in source.read_batches(np.arange(12), 0, 4):
        if images[0] == 4:
            break
    present = 12 - source.count_missing(np.arange(12), 0)
    assert present >= 8
    assert other.count_missing(np.arange(12), 0) == 12, "opened before the rows were computed"
    rows = other.read_all(np.arange(12), 0)
    assert other.counts.hits == present
    np.testing.assert_array_equal(source.read_all(np.arange(12), 0), rows)
    assert source.counts.misses == 8, "no further row is computed"


def test_a_reader_that_pauses_holds_up_no_other(pack: Pack, tmp_path: Path) -> None:
    """A job that trains between two batches of a walk: another one needs the same rows meanwhile."""
    training, other = open_source(pack, tmp_path), open_source(pack, tmp_path)
    batches = training.read_batches(np.arange(12), 0, 4)
    next(batches)
    rows = other.read_all(np.arange(12), 0)
    assert rows.shape == (12, 12)
    assert list(batches)
    assert training.counts.misses + other.counts.misses == 12, "no row is computed twice"


def test_two_readers_in_turns_share_the_work(pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(eager.BATCH_SIZES, "cpu", 2)
    readers = [open_source(pack, tmp_path) for _ in range(2)]
    orders = np.arange(12), np.arange(12)[::-1]
    walks = [reader.read_batches(order, 0, 2) for reader, order in zip(readers, orders, strict=True)]
    first: list[np.ndarray] = []
    second: list[np.ndarray] = []
    for (_, some), (_, others) in zip(*walks, strict=True):
        first.append(some)
        second.append(others)
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(second)[::-1])
    for reader in readers:
        assert (reader.counts.misses, reader.counts.hits) == (6, 6)
