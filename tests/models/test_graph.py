"""Cutting a network's graph against the uncut network: to the bit."""

from __future__ import annotations

import pytest
import torch

from models.graph import Traced, Untraceable
from tests.models.networks import Wayward, given, network, pictures

SMALL = ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_mambaout", "test_nfnet", "test_maxvit"]


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
@torch.inference_mode()
def test_every_cut_parts_the_network_exactly(name: str) -> None:
    whole = network(name)
    traced = Traced.of(whole)
    expected = whole(pictures(whole))
    cuts = traced.cuts()
    assert len(cuts) > 15
    for cut in cuts:
        trunk, top = traced.part(cut)
        assert torch.equal(top(trunk(pictures(whole))), expected), traced.paths[cut]


@pytest.mark.parametrize("name", SMALL)
@torch.inference_mode()
def test_a_cut_is_all_that_flows(name: str) -> None:
    """The liveness count against its definition: the top needs nothing of the picture but the cut."""
    whole = network(name)
    traced = Traced.of(whole)
    for cut in traced.cuts():
        _, top = traced.part(cut)
        needed = [node.name for node in top.graph.nodes if node.op == "placeholder" and not node.args]
        assert needed == ["features"], "all others have defaults"


def test_a_residual_block_is_not_cut_inside() -> None:
    traced = Traced.of(network("test_resnet"))
    paths = {traced.paths[cut] for cut in traced.cuts()}
    assert "layer1.0.conv1" not in paths, "the shortcut flows past it"
    assert any(path.startswith("layer1") for path in paths)


def test_parts_share_the_networks_parameters_under_its_names() -> None:
    whole = network("test_resnet")
    traced = Traced.of(whole)
    trunk, top = traced.part(traced.cuts()[8])
    own = dict(whole.named_parameters())
    parted = {**dict(trunk.named_parameters()), **dict(top.named_parameters())}
    assert parted.keys() == own.keys()
    assert all(parted[name] is own[name] for name in own)


@torch.inference_mode()
def test_a_trunk_can_give_several_values() -> None:
    whole = network("test_resnet")
    traced = Traced.of(whole)
    first, second = traced.cuts()[3], traced.cuts()[8]
    both = traced.trunk(first, second)(pictures(whole))
    for value, cut in zip(both, (first, second), strict=True):
        assert torch.equal(value, traced.trunk(cut)(pictures(whole)))


@torch.inference_mode()
def test_arguments_that_may_be_left_out_are() -> None:
    """Hiera's mask: in its place a proxy would be taken for a mask that is given."""
    whole = network("hiera_tiny_224", img_size=64, stages=(1, 1, 1, 1))
    traced = Traced.of(whole)
    trunk, top = traced.part(traced.cuts()[5])
    picture = given((3, 64, 64))
    assert torch.equal(top(trunk(picture)), whole(picture))


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("test_resnet", ["fc"]),
        ("mobilenetv3_small_050", ["classifier"]),  # a linear layer of timm's own class
        ("resnetv2_18", ["head.fc"]),  # a convolution
        ("levit_128s", ["head.linear", "head_dist.linear"]),
        ("caformer_s18", ["head.fc.fc2"]),  # the last of a perceptron's
    ],
)
def test_last_layers(name: str, layers: list[str]) -> None:
    with torch.device("meta"):
        traced = Traced.of(network(name))
    assert [call.target for call in traced.last_layers()] == layers


@torch.inference_mode()
def test_a_network_without_a_layer_passes_what_the_layer_is_given() -> None:
    whole = network("test_resnet")
    traced = Traced.of(whole)
    (call,) = traced.last_layers()
    features = traced.without(call)(pictures(whole))
    assert torch.equal(whole.fc(features), whole(pictures(whole)))


def test_a_way_that_depends_on_the_picture_has_no_graph() -> None:
    with pytest.raises(Untraceable):
        Traced.of(Wayward())
