"""Graph networks without their top stages, against timm's own network without them."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from models.catalog.cuts import Top
from models.catalog.heads import MLP
from models.networks import graph_file
from models.networks.cut_network import CutUnsupported, cut_at
from models.networks.feature_network import cut_before_classifier
from models.networks.graph_network import GraphNetwork
from models.networks.truncation import drop_stages
from models.pipeline.merge_head import find_head_slot, merge_head
from tests.support.graphs import SIZE, graph_network
from tests.support.networks import copy_state, given


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet18", {}),
        ("resnet18", {"num_classes": 0}),
        ("vit_tiny_patch16_224", {"img_size": 64, "depth": 4}),
        ("mobilenetv3_small_050", {}),
        ("convnext_atto", {}),
    ],
)
@torch.no_grad()
def test_a_graph_without_its_top_stages_computes_what_the_network_does(
    name: str, arguments: dict[str, object], count: int
) -> None:
    graph, whole = graph_network(name, **arguments)
    before = copy_state(graph)
    mine, own = (drop_stages(net, count, SIZE) for net in (graph, whole))
    dropped = [path.removesuffix(".layer_norm") for path in mine.dropped]  # a call of a function, not of a module
    assert dropped == own.dropped
    assert all(torch.equal(value, before[key]) for key, value in graph.state_dict().items()), "it stays as it is"
    features = [cut_before_classifier(net.network, SIZE, {}) for net in (mine, own)]
    assert torch.equal(features[0].trunk(given(SIZE, 3)), features[1].trunk(given(SIZE, 3)))
    parts = cut_at(features[0], Top(stages=1))
    assert parts.trunk is not None
    assert torch.equal(parts.top(parts.trunk(given(SIZE, 3))), features[0].trunk(given(SIZE, 3)))

    linear = nn.Sequential(nn.Linear(features[0].num_features, 6), nn.ReLU(), nn.Linear(6, 4)).eval()
    merge_head(find_head_slot(features[0], MLP(), mine.dropped), linear)
    merged = features[0].network
    assert isinstance(merged, GraphNetwork)
    described = json.loads(json.dumps(graph_file.describe(merged)))
    delivered = graph_file.load(described, merged.simplify().state_dict())
    torch.testing.assert_close(delivered(given(SIZE, 3)), linear(features[0].trunk(given(SIZE, 3))))


def test_the_lowest_stage_cannot_be_dropped() -> None:
    graph, _ = graph_network("resnet18")
    with pytest.raises(CutUnsupported, match=r"drop_stages is 6; .*conv1, layer1.*: drop fewer, or none"):
        drop_stages(graph, 6, SIZE)


def test_a_classifier_of_several_layers_is_refused() -> None:
    graph, _ = graph_network("deit_tiny_distilled_patch16_224", img_size=64, depth=2)
    with pytest.raises(CutUnsupported, match="one linear classifier"):
        drop_stages(graph, 1, SIZE)
