"""Extraction: features by the engine that was chosen, through stores that are opened once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from models.catalog.augmentations import Colour
from models.features.cache import FeatureCache
from models.features.engines.selection import PLAIN, Kind
from models.features.extractor import Extractor
from models.features.sources import CachedFeatures, RenderedImages
from models.networks.cut_network import CutNetwork
from tests.support.small_pack import PREPROCESSING, Corner, small_pack

if TYPE_CHECKING:
    from pathlib import Path

    from models.datasets.pack import Pack

CPU = torch.device("cpu")
IMAGES = np.arange(12)


@pytest.fixture
def pack(tmp_path: Path) -> Pack:
    """12 images."""
    return small_pack(tmp_path, classes=3, each=4)


def extractor(folder: Path | None) -> Extractor:
    cut_network = CutNetwork(Corner(), nn.Identity(), "corner", (12,), "digest")
    return Extractor(cut_network, PREPROCESSING, CPU, None if folder is None else FeatureCache(folder / "cache"))


def cached(opened: object) -> CachedFeatures:
    assert isinstance(opened, CachedFeatures)
    return opened


def test_all_that_is_opened_of_one_kind_shares_a_store(pack: Pack, tmp_path: Path) -> None:
    one = extractor(tmp_path)
    plain, other = cached(one.features(pack, [])), cached(one.features(pack, [Colour()]))
    assert plain.store_of(0) is other.store_of(0)
    assert plain.store_of(1) is not other.store_of(1), "another policy"
    exact = cached(one.exact(pack))
    assert exact.store_of(0) is not plain.store_of(0)
    assert exact.store_of(0).dtype == np.float32


def test_what_one_computed_another_reads(pack: Pack, tmp_path: Path) -> None:
    first, second = cached(extractor(tmp_path).features(pack, [])), cached(extractor(tmp_path).features(pack, []))
    computed = first.all(IMAGES, 0)
    assert first.counts.misses == 12
    np.testing.assert_array_equal(second.all(IMAGES, 0), computed)
    assert (second.counts.hits, second.counts.misses) == (12, 0), "though it was opened before"


def test_what_was_asked_for_is_chosen_and_has_rows_of_its_own(pack: Pack, tmp_path: Path) -> None:
    one = extractor(tmp_path)
    choice = one.choose_engine("eager", "exact", pack, IMAGES)
    assert choice.kind == Kind("eager", "exact")
    opened = cached(one.features(pack, []))
    np.testing.assert_allclose(opened.all(IMAGES, 0), cached(one.exact(pack)).all(IMAGES, 0), rtol=2e-3, atol=2e-3)
    assert opened.views.resizer == "pillow"
    assert cached(extractor(tmp_path).features(pack, [])).views.resizer == "torch"


def test_a_machine_without_the_engine_goes_on_plainly_and_says_so(pack: Pack, tmp_path: Path) -> None:
    choice = extractor(tmp_path).choose_engine("openvino", "exact", pack, IMAGES)
    assert choice.kind == PLAIN
    assert choice.why == "this machine has no engine openvino that computes in exact"


def test_without_a_cache_images_are_rendered_each_time(pack: Pack) -> None:
    one = extractor(None)
    assert one.choose_engine("auto", "auto", pack, IMAGES).kind == PLAIN
    assert isinstance(one.features(pack, []), RenderedImages)
    assert isinstance(one.exact(pack), RenderedImages)
