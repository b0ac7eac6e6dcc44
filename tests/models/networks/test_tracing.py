"""A cut graph against the uncut network, to the bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.networks.tracing import Untraceable, trace
from tests.support.networks import Wayward, given, images, network

SMALL = ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "test_mambaout", "test_nfnet", "test_maxvit"]


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
@torch.inference_mode()
def test_trunk_and_top_of_every_cut_give_the_networks_output(name: str) -> None:
    whole = network(name)
    traced = trace(whole)
    expected = whole(images(whole))
    cuts = traced.find_cuts()
    assert len(cuts) > 15
    for cut in cuts:
        trunk, top = traced.build_trunk(cut), traced.build_top(cut, traced.output)
        assert torch.equal(top(trunk(images(whole))), expected), traced.paths[cut]


@pytest.mark.parametrize("name", SMALL)
@torch.inference_mode()
def test_everything_flows_through_a_cut(name: str) -> None:
    """The liveness count against its definition: the top needs nothing of the image but the cut."""
    whole = network(name)
    traced = trace(whole)
    for cut in traced.find_cuts():
        top = traced.build_top(cut, traced.output)
        needed = [node.name for node in top.graph.nodes if node.op == "placeholder" and not node.args]
        assert needed == ["features"], "all others have defaults"


def test_a_residual_block_is_not_cut_inside() -> None:
    traced = trace(network("test_resnet"))
    paths = {traced.paths[cut] for cut in traced.find_cuts()}
    assert "layer1.0.conv1" not in paths, "the shortcut flows past it"
    assert any(path.startswith("layer1") for path in paths)


def test_trunk_and_top_share_the_networks_parameters_under_its_names() -> None:
    whole = network("test_resnet")
    traced = trace(whole)
    cut = traced.find_cuts()[8]
    trunk, top = traced.build_trunk(cut), traced.build_top(cut, traced.output)
    own = dict(whole.named_parameters())
    parts = {**dict(trunk.named_parameters()), **dict(top.named_parameters())}
    assert parts.keys() == own.keys()
    assert all(parts[name] is own[name] for name in own)


@torch.inference_mode()
def test_a_trunk_can_give_several_values() -> None:
    whole = network("test_resnet")
    traced = trace(whole)
    first, second = traced.find_cuts()[3], traced.find_cuts()[8]
    both = traced.build_trunk(first, second)(images(whole))
    for value, cut in zip(both, (first, second), strict=True):
        assert torch.equal(value, traced.build_trunk(cut)(images(whole)))


@torch.inference_mode()
def test_optional_arguments_keep_their_defaults() -> None:
    """Hiera's mask: in its place a proxy would be taken for a mask that is given."""
    whole = network("hiera_tiny_224", img_size=64, stages=(1, 1, 1, 1))
    traced = trace(whole)
    cut = traced.find_cuts()[5]
    trunk, top = traced.build_trunk(cut), traced.build_top(cut, traced.output)
    image = given((3, 64, 64))
    assert torch.equal(top(trunk(image)), whole(image))


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
def test_output_layers(name: str, layers: list[str]) -> None:
    with torch.device("meta"):
        traced = trace(network(name))
    assert [call.target for call in traced.find_output_layers()] == layers


@torch.inference_mode()
def test_a_bypassed_layer_passes_its_input_on() -> None:
    whole = network("test_resnet")
    traced = trace(whole)
    (call,) = traced.find_output_layers()
    rest = traced.bypass(call)
    features = rest.build_trunk(rest.output)(images(whole))
    assert torch.equal(whole.fc(features), whole(images(whole)))
    paths = [rest.paths[cut] for cut in rest.find_cuts()]
    assert paths == [traced.paths[cut] for cut in traced.find_cuts()][: len(paths)], "its values have the same names"


SIZED = [
    # rotary embeddings, by the size of the image
    ("vit_small_patch16_dinov3", {"embed_dim": 48, "num_heads": 2, "depth": 3}, 32, "blocks.1.add_1"),
    # the number of patches beside every value
    ("xcit_nano_12_p8_224", {"depth": 2}, 32, "blocks.0.add_2"),
    # the same as a list
    ("mvitv2_tiny", {}, 224, "stages.0.blocks.0.add_1"),
]
"""Networks whose blocks read sizes: name, arguments, side, and a cut between two blocks."""


@pytest.mark.parametrize(("name", "arguments", "side", "path"), SIZED, ids=[row[0] for row in SIZED])
def test_sizes_flow_past_no_cut(name: str, arguments: dict[str, object], side: int, path: str) -> None:
    device = torch.device("meta" if side == 224 else "cpu")
    with device:
        whole = network(name, **arguments)
    traced = trace(whole)
    folded = traced.fold_sizes(given((3, side, side)).to(device))
    assert path not in {traced.paths[cut] for cut in traced.find_cuts()}
    cuts = {folded.paths[cut]: cut for cut in folded.find_cuts()}
    assert path in cuts
    if device.type == "cpu":
        with torch.no_grad():
            trunk, top = folded.build_trunk(cuts[path]), folded.build_top(cuts[path], folded.output)
            image = given((3, side, side), count=5)
            assert torch.equal(top(trunk(image)), whole(image)), "of any number of images"


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_folding_sizes_loses_no_cut(name: str) -> None:
    whole = network(name)
    traced = trace(whole)
    folded = traced.fold_sizes(images(whole))
    assert {folded.paths[cut] for cut in folded.find_cuts()} >= {traced.paths[cut] for cut in traced.find_cuts()}


class Stubborn(nn.Module):
    """A network that its trace takes for one of two images."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(2, -1)


def test_a_graph_that_does_not_run_makes_the_network_untraceable() -> None:
    with pytest.raises(Untraceable, match="cannot be run"):
        trace(Stubborn()).fold_sizes(given((3, 5, 5)))


@pytest.mark.parametrize(("name", "side"), [("levit_128s", 64), ("efficientformerv2_s0", 64)])
@torch.inference_mode()
def test_a_network_can_be_traced_twice(name: str, side: int) -> None:
    """In evaluation mode these keep what their attention computed, and would keep a value of the first graph."""
    whole = network(name, img_size=side)
    image = given((3, side, side))
    first, second = trace(whole), trace(whole)
    assert torch.equal(first.build_trunk(first.output)(image), second.build_trunk(second.output)(image))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_parameters_of_nodes_are_the_networks_own(name: str) -> None:
    whole = network(name)
    traced = trace(whole)
    own = dict(whole.named_parameters())
    found = traced.collect_parameters(set(traced.graph.nodes))
    assert found.keys() == own.keys()
    assert all(found[path] is own[path] for path in own)
    (call,) = traced.find_output_layers()
    assert traced.collect_parameters({call}).keys() == {f"{call.target}.weight", f"{call.target}.bias"}


def test_a_network_whose_operations_depend_on_the_image_is_untraceable() -> None:
    with pytest.raises(Untraceable):
        trace(Wayward())
