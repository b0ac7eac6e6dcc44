"""Feature extraction: the chosen engine computes, and stores are opened once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from models.catalog.augmentations import Colour
from models.features.cache import FeatureCache
from models.features.engines.selection import REFERENCE, EngineConfig
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
    """A pack of 12 images."""
    return small_pack(tmp_path, classes=3, each=4)


def make_extractor(folder: Path | None) -> Extractor:
    cut_network = CutNetwork(Corner(), nn.Identity(), "corner", (12,), "digest")
    return Extractor(cut_network, PREPROCESSING, CPU, None if folder is None else FeatureCache(folder / "cache"))


def as_cached(source: object) -> CachedFeatures:
    assert isinstance(source, CachedFeatures)
    return source


def test_sources_of_the_same_key_share_a_store(pack: Pack, tmp_path: Path) -> None:
    one = make_extractor(tmp_path)
    plain, other = as_cached(one.open_source(pack, [])), as_cached(one.open_source(pack, [Colour()]))
    assert plain.get_store(0) is other.get_store(0)
    assert plain.get_store(1) is not other.get_store(1), "another policy"
    exact = as_cached(one.open_exact_source(pack))
    assert exact.get_store(0) is not plain.get_store(0)
    assert exact.get_store(0).dtype == np.float32


def test_features_that_one_extractor_computed_are_hits_of_another(pack: Pack, tmp_path: Path) -> None:
    first, second = (
        as_cached(make_extractor(tmp_path).open_source(pack, [])),
        as_cached(make_extractor(tmp_path).open_source(pack, [])),
    )
    computed = first.read_all(IMAGES, 0)
    assert first.counts.misses == 12
    np.testing.assert_array_equal(second.read_all(IMAGES, 0), computed)
    assert (second.counts.hits, second.counts.misses) == (12, 0), "though it was opened before the rows were computed"


def test_a_required_precision_is_chosen_and_has_a_store_of_its_own(pack: Pack, tmp_path: Path) -> None:
    one = make_extractor(tmp_path)
    choice = one.choose_engine("eager", "exact", pack, IMAGES)
    assert choice.config == EngineConfig("eager", "exact")
    opened = as_cached(one.open_source(pack, []))
    np.testing.assert_allclose(
        opened.read_all(IMAGES, 0), as_cached(one.open_exact_source(pack)).read_all(IMAGES, 0), rtol=2e-3, atol=2e-3
    )
    assert opened.views.resizer == "pillow"
    assert as_cached(make_extractor(tmp_path).open_source(pack, [])).views.resizer == "torch"


def test_a_machine_without_the_engine_falls_back_to_the_reference_and_says_so(pack: Pack, tmp_path: Path) -> None:
    choice = make_extractor(tmp_path).choose_engine("openvino", "exact", pack, IMAGES)
    assert choice.config == REFERENCE
    assert choice.reason == "this machine has no engine openvino that computes in exact"


def test_without_a_cache_images_are_rendered_each_time(pack: Pack) -> None:
    one = make_extractor(None)
    assert one.choose_engine("auto", "auto", pack, IMAGES).config == REFERENCE
    assert isinstance(one.open_source(pack, []), RenderedImages)
    assert isinstance(one.open_exact_source(pack), RenderedImages)
