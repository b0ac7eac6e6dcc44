"""Truncated networks can be cut, trained, stored and built again."""

from __future__ import annotations

import json
from typing import Any

import pytest
import timm
import torch
from torch import nn

from models.catalog.cuts import Top, find_stages
from models.catalog.heads import Linear
from models.networks.candidate_cuts import list_candidate_cuts
from models.networks.cut_network import CutUnsupported, cut_at
from models.networks.feature_network import cut_before_classifier
from models.networks.truncation import drop_stages
from models.pipeline.merge_head import describe_replaced, find_head_slot, merge_head
from tests.support.networks import Wayward, copy_state, given, network, rebuild

WITHOUT_TWO: list[tuple[str, dict[str, Any], int, list[str]]] = [
    ("test_resnet", {}, 32, ["layer3", "layer4"]),
    ("test_vit", {}, 160, ["blocks.4", "blocks.5", "norm"]),
    # an activation goes with its norm
    ("test_efficientnet", {}, 32, ["blocks.4", "conv_head", "bn2"]),
    ("mobilenetv3_small_050", {}, 32, ["blocks.5", "conv_head"]),
    # the classifier's part has layers of its own
    ("test_convnext", {}, 64, ["stages.2", "stages.3", "head.norm"]),
    ("test_mambaout", {}, 64, ["stages.2", "stages.3", "head.norm", "head.pre_logits.fc"]),
    # a convolution is the classifier
    ("resnetv2_18", {}, 32, ["stages.2", "stages.3", "norm"]),
    (
        "swin_tiny_patch4_window7_224",
        {"img_size": 64, "window_size": 2, "depths": (1, 1, 1, 1), "embed_dim": 24},
        64,
        ["layers.2", "layers.3", "norm"],
    ),
    # no classifier of its own
    ("vit_tiny_patch16_224", {"img_size": 32, "depth": 4, "num_classes": 0}, 32, ["blocks.2", "blocks.3", "norm"]),
]
"""Name, arguments, side, and what goes with the two topmost stages."""
SLOWLY: list[tuple[str, dict[str, Any], int, list[str]]] = [
    ("vgg11", {}, 32, ["features.18", "pre_logits"]),
    ("regnetx_002", {}, 32, ["s3", "s4"]),
    ("tiny_vit_5m_224", {}, 64, ["stages.2", "stages.3", "head.norm"]),
    ("efficientnet_b0", {}, 64, ["blocks.6", "conv_head", "bn2"]),
    ("xception41", {}, 96, ["blocks.11", "blocks.12"]),
    ("inception_v3", {}, 128, ["Mixed_7b", "Mixed_7c"]),
]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("name", "arguments", "side", "without_two"),
    [*WITHOUT_TWO, *(pytest.param(*row, marks=pytest.mark.slow) for row in SLOWLY)],
)
@torch.no_grad()
def test_a_truncated_network_is_cut_stored_and_built_again(
    name: str, arguments: dict[str, Any], side: int, without_two: list[str], count: int
) -> None:
    whole, size = network(name, **arguments), (3, side, side)
    before = find_stages(list_candidate_cuts(cut_before_classifier(whole, size, {})))
    truncated = drop_stages(whole, count, size)
    dropped = truncated.dropped
    assert dropped == without_two[2 - count :]
    feature_network = cut_before_classifier(truncated.network, size, {})
    cut_network = cut_at(feature_network, Top(stages=1))
    left = [stage for stage in before if stage not in dropped and stage != "head"]
    assert [stage.name for stage in cut_network.stages] == left[-1:]
    image = given(size, count=3)
    assert cut_network.trunk is not None
    features = cut_network.top(cut_network.trunk(image))
    assert torch.equal(features, feature_network.trunk(image))
    linear = nn.Linear(feature_network.num_features, 4)
    slot = find_head_slot(feature_network, Linear(), dropped)
    merge_head(slot, nn.Sequential(linear))
    again = timm.create_model(name, **{**arguments, "num_classes": 4})
    again = rebuild(again, json.dumps(describe_replaced(slot)), feature_network.network.state_dict())
    torch.testing.assert_close(again(image), linear(features), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_features_are_the_output_of_the_stages_that_are_left() -> None:
    whole = network("test_resnet")
    before = copy_state(whole)
    truncated = drop_stages(whole, 2, (3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items()), "it stays as it is"
    image = given((3, 64, 64))
    below = whole.maxpool(whole.act1(whole.bn1(whole.conv1(image))))
    expected = whole.layer2(whole.layer1(below)).mean((2, 3))
    torch.testing.assert_close(cut_before_classifier(truncated.network, (3, 64, 64), {}).trunk(image), expected)


def refused(whole: Any, side: int, count: int, match: str) -> None:
    """Check that dropping stages is refused with this message."""
    with pytest.raises(CutUnsupported, match=match):
        drop_stages(whole, count, (3, side, side))


def test_the_lowest_stage_cannot_be_dropped() -> None:
    refused(network("test_resnet"), 32, 5, r"drop_stages is 5; .*conv1, layer1, .*layer4.*: drop fewer, or none")
    assert drop_stages(network("test_resnet"), 4, (3, 32, 32)).dropped == ["layer1", "layer2", "layer3", "layer4"]


def test_a_network_in_one_piece_has_no_stages_to_drop() -> None:
    refused(Wayward(), 16, 1, r"\(forward_head\).*or none")
    refused(network("densenet121", growth_rate=8, block_config=(2, 2)), 32, 4, "drop fewer, or none")


def test_a_classifier_of_several_layers_is_refused() -> None:
    refused(network("deit_tiny_distilled_patch16_224", img_size=32, depth=2), 32, 1, "one linear classifier")


def test_a_block_that_reads_more_than_the_block_below_cannot_be_dropped() -> None:
    whole = network("vit_small_patch16_dinov3", embed_dim=48, num_heads=2, depth=2)
    refused(whole, 32, 1, r"cannot do without blocks\.1 .*rope.*: drop none")
