"""Costs of cuts against published figures and against each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from models import backbones
from models.networks.candidate_cuts import inspect
from models.networks.tracing import Untraceable
from tests.support.networks import Wayward


def inspected(name: str) -> dict[str, Any]:
    """Inspect a backbone of timm."""
    config = backbones.read_config(name, None)
    return inspect(config.build_without_weights(), config.preprocessing.input_size)


@pytest.mark.parametrize(
    ("name", "multiply_adds", "parameters", "stage"),
    [
        # He et al. (2015) and Sandler et al. (2018) give 4.1 and 0.3 thousand million multiply-adds.
        ("timm/resnet50.a1_in1k", 4.09e9, 25_557_032, "layer3"),
        ("timm/mobilenetv2_100.ra_in1k", 0.3e9, 3_504_872, "blocks.4"),
    ],
)
def test_agrees_with_the_papers(name: str, multiply_adds: float, parameters: int, stage: str) -> None:
    found = inspected(name)
    assert found["multiply_adds"] == pytest.approx(multiply_adds, rel=0.01)
    assert found["parameters"] == parameters
    assert stage in found["stages"]


def test_a_cut_parts_all_costs_in_two() -> None:
    found = inspected("timm/test_resnet.r160_in1k")
    for cut in found["cuts"]:
        assert cut["multiply_adds_below"] + cut["multiply_adds_above"] == found["multiply_adds"]
        assert cut["parameters_below"] + cut["parameters_above"] == found["parameters"]
    below = [cut["multiply_adds_below"] for cut in found["cuts"]]
    assert below == sorted(below)
    last = next(cut for cut in found["cuts"] if cut["name"] == "global_pool.flatten")
    assert (last["shape"], last["bytes_per_feature"]) == ([96], 192)
    assert last["parameters_above"] == 96 * 1000 + 1000


@pytest.mark.parametrize(
    "name",
    [
        "timm/hiera_tiny_224.mae_in1k_ft_in1k",  # has an argument that may be left out
        "timm/naflexvit_base_patch16_siglip.v2_webli",  # expands a parameter
        "timm/mobilenetv3_small_050.lamb_in1k",  # has linear layers of timm's own class
        "timm/levit_128s.fb_dist_in1k",  # has two classifiers
    ],
)
def test_a_network_with_a_graph_has_many_cuts(name: str) -> None:
    found = inspected(name)
    assert len(found["cuts"]) > 10
    assert found["multiply_adds"] > 2e7


def test_a_network_without_a_graph_has_one_cut_before_its_classifier() -> None:
    found = inspected("timm/gemma4_vit_167m.gemma4_e4b_it")
    (cut,) = found["cuts"]
    assert (cut["name"], cut["shape"], cut["bytes_per_feature"]) == ("forward_head", [768], 1536)
    assert (cut["multiply_adds_below"], cut["multiply_adds_above"]) == (found["multiply_adds"], 0)
    assert found["parameters"] == cut["parameters_below"] == 167_364_608, "it comes without a classifier"


def test_the_cut_before_a_classifier_parts_all_costs_in_two() -> None:
    found = inspect(Wayward(), (3, 16, 16))
    (cut,) = found["cuts"]
    assert (cut["multiply_adds_above"], cut["parameters_above"]) == (6 * 7, 6 * 7 + 7)
    assert cut["multiply_adds_below"] == 4 * 4 * (3 * 4 * 4 * 6 + 6 * 6)


def test_a_network_that_must_see_the_image_is_refused_by_name() -> None:
    with torch.device("meta"):
        outline = Wayward()
    with pytest.raises(Untraceable):
        inspect(outline, (3, 16, 16))
