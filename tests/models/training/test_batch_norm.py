"""Adaptation of BatchNorm, against torch's own cumulative statistics and against pooled ones by hand."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from models.catalog.cuts import Nothing, Top
from models.features.cache import FeatureCache
from models.features.extractor import Extractor
from models.networks.cut_network import CutNetwork, cut_at
from models.networks.feature_network import FeatureNetwork, cut_before_classifier
from models.training.batch_norm import adapt_batch_norm, find_norms
from tests.support.networks import changed_names, copy_state, network, norm_names, randomize_norms
from tests.support.small_pack import PREPROCESSING, small_pack

if TYPE_CHECKING:
    from pathlib import Path

    from models.features.sources import FeatureSource

SIZE = (3, 32, 32)
IMAGES = np.arange(12)


def prepared(folder: Path, cut: Any, name: str = "test_resnet") -> tuple[FeatureNetwork, CutNetwork, FeatureSource]:
    """Cut a network, and open the features of twelve images."""
    feature_network = cut_before_classifier(randomize_norms(network(name)), SIZE, {})
    cut_network = cut_at(feature_network, cut)
    cache = FeatureCache(folder / "cache") if cut_network.trunk is not None else None
    preprocessing = replace(PREPROCESSING, input_size=SIZE)
    extractor = Extractor(cut_network, preprocessing, torch.device("cpu"), cache)
    return feature_network, cut_network, extractor.open_source(small_pack(folder, classes=3, each=4), [])


def read_rows(source: FeatureSource) -> torch.Tensor:
    """The values at the cut of all images."""
    ((_, rows),) = source.read_batches(IMAGES, 0, len(IMAGES))
    return source.to_input(rows)


@pytest.mark.parametrize("cut", [Top(), Nothing()], ids=["top", "none"])
def test_in_one_batch_they_are_torchs_own_of_that_batch(cut: Any, tmp_path: Path) -> None:
    _, cut_network, source = prepared(tmp_path, cut)
    assert source.read_batch_size >= len(IMAGES)
    reference = copy.deepcopy(cut_network.top).train()
    for module in reference.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    reference(read_rows(source))
    list(adapt_batch_norm(cut_network, source, IMAGES))
    norms = find_norms(cut_network)
    others = [module for module in reference.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == len(others) > 1
    for norm, other in zip(norms, others, strict=True):
        torch.testing.assert_close(norm.running_mean, other.running_mean, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(norm.running_var, other.running_var, atol=1e-4, rtol=1e-4)


def test_statistics_of_the_lowest_norm_are_pooled_over_all_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the mean of the batches' variances, which leaves out how far their means lie apart."""
    _, cut_network, source = prepared(tmp_path, Nothing())
    source.read_batch_size = 5  # type: ignore[misc]
    first: Any = find_norms(cut_network)[0]
    heard: list[torch.Tensor] = []
    hook = first.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    with torch.no_grad():
        cut_network.top(read_rows(source))
    hook.remove()
    assert list(adapt_batch_norm(cut_network, source, IMAGES)) == [4, 4, 4]
    torch.testing.assert_close(first.running_mean, heard[0].mean((0, 2, 3)))
    torch.testing.assert_close(first.running_var, heard[0].var((0, 2, 3)))


def test_nothing_but_statistics_above_the_cut_changes(tmp_path: Path) -> None:
    feature_network, cut_network, source = prepared(tmp_path, Top(stages=2))
    before = copy_state(feature_network.network)  # type: ignore[arg-type]
    list(adapt_batch_norm(cut_network, source, IMAGES))
    changed = changed_names(feature_network.network, before)  # type: ignore[arg-type]
    statistics = {name for name in norm_names(feature_network.network) if name.endswith(("mean", "var"))}  # type: ignore[arg-type]
    assert changed == {name for name in statistics if name.startswith(("layer3.", "layer4."))}
    assert not any(norm._forward_pre_hooks for norm in find_norms(cut_network))


def test_images_like_those_of_the_pretraining_change_nothing(tmp_path: Path) -> None:
    _, cut_network, source = prepared(tmp_path, Nothing())
    list(adapt_batch_norm(cut_network, source, IMAGES))
    before = copy_state(cut_network.top)
    list(adapt_batch_norm(cut_network, source, IMAGES))
    assert changed_names(cut_network.top, before) == set(), "statistics that were there do not matter"


def test_the_features_of_an_adapted_network_have_a_digest_of_their_own(tmp_path: Path) -> None:
    feature_network, cut_network, source = prepared(tmp_path, Top())
    assert feature_network.compute_digest() == feature_network.digest
    list(adapt_batch_norm(cut_network, source, IMAGES))
    assert feature_network.compute_digest() != feature_network.digest


def test_a_network_without_batch_norm_stays_as_it_is(tmp_path: Path) -> None:
    _, cut_network, source = prepared(tmp_path, Nothing(), "convnext_atto")
    before = copy_state(cut_network.top)
    assert find_norms(cut_network) == []
    assert sum(adapt_batch_norm(cut_network, source, IMAGES)) == len(IMAGES)
    assert changed_names(cut_network.top, before) == set()
