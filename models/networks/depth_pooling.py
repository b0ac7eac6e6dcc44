"""Pools the feature maps of several stages of a network: its classifier then reads them all (Head2Toe)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from models.catalog.cuts import assign_stages
from models.networks.candidate_cuts import count_costs, list_candidate_cuts
from models.networks.feature_map import read_layout
from models.networks.feature_network import cut_before_classifier
from models.networks.graph_copy import GraphError
from models.networks.graph_network import GraphNetwork
from models.networks.tracing import SurgeryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.catalog.pooling import Depths
    from models.networks.feature_map import Layout
    from models.networks.feature_network import FeatureNetwork, NetworkTail
    from models.networks.types import TimmNetwork


class PoolingUnsupported(SurgeryError):
    """The network has no feature maps that a head could read."""

    code = "pooling_unsupported"


@torch.no_grad()
def pool_depths(network: TimmNetwork, depths: Depths, input_size: tuple[int, int, int]) -> GraphNetwork:
    """Pool feature maps of several stages, which the new network's classifier reads beside the network's own features.

    The network is a graph that shares the tensors of `network`, which stays as it is, and takes images of this size
    (3, H, W) alone. Its classifier has one class. Raises PoolingUnsupported, and as `cut_before_classifier` does.
    """
    feature_network = cut_before_classifier(network, input_size, {}, is_plain=True)
    tail = feature_network.tail
    if tail.traced is None:
        raise PoolingUnsupported(
            "The layers of this backbone depend on its input, so that no feature maps can be taken out of it: leave "
            "pooling out of the recipe, or choose another backbone."
        )
    maps = list(_find_maps(feature_network).values())
    chosen = [maps[place] for place in depths.choose_stages(len(maps))]
    averaged = [(node, layout, depths.choose_grid(*layout.shape)) for node, layout in chosen]
    if averaged and averaged[-1][2] == (1, 1) and _is_known(tail, *averaged[-1][:2], feature_network.sample_images):
        averaged.pop()
    if not averaged:
        raise PoolingUnsupported(
            "The stages of this backbone have no feature maps that could be averaged: leave pooling out of the recipe, "
            "or choose another backbone."
        )
    try:
        made = GraphNetwork.from_graph(tail.traced.network, *_build_graph(tail, averaged))
    except GraphError as error:
        raise PoolingUnsupported(
            f"This backbone cannot be written as a graph, which pooling needs ({error}): leave pooling out of the "
            "recipe, or choose another backbone."
        ) from error
    made.reset_classifier(1)
    made(feature_network.sample_images)  # how many features there are, the classifier learns now
    return made


def _is_known(tail: NetworkTail, node: fx.Node, layout: Layout, images: torch.Tensor) -> bool:
    """Tell whether the average of a map is one of the network's own features anyway."""
    assert tail.traced is not None
    value, *vectors = tail.traced.build_trunk(node, *tail.vectors)(images)
    average = layout.arrange(value).mean((2, 3))
    own = [vector.flatten(1) for vector in vectors]
    return any(vector.shape == average.shape and torch.allclose(vector, average, atol=1e-5) for vector in own)


def _find_maps(feature_network: FeatureNetwork) -> dict[str, tuple[fx.Node, Layout]]:
    """Find the topmost feature map of each stage, from the lowest up."""
    tail, size = feature_network.tail, feature_network.input_size[1:]
    assert tail.traced is not None
    shapes = count_costs(tail.traced, feature_network.sample_images[:1]).shapes
    cuts = list_candidate_cuts(feature_network)
    found: dict[str, tuple[fx.Node, Layout]] = {}
    for cut, stage in zip(cuts, assign_stages(cuts), strict=True):
        node = tail.cuts.get(cut.name)
        layout = None if node is None else read_layout(shapes[node][1:], size)
        if node is not None and layout is not None:
            found[stage] = node, layout
    return found


def _build_graph(
    tail: NetworkTail, averaged: Sequence[tuple[fx.Node, Layout, tuple[int, int]]]
) -> tuple[fx.Graph, Mapping[str, str]]:
    """Build the graph from images to all features, (B, D); returns it with the paths of its values."""
    assert tail.traced is not None
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    needed = tail.traced.find_below(*tail.vectors, *(node for node, _, _ in averaged))
    for node in tail.traced.graph.nodes:
        if node in needed:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    paths = {copy.name: tail.traced.paths.get(node, node.name) for node, copy in copies.items()}
    recorder = fx.proxy.GraphAppendingTracer(graph)
    values: dict[fx.Node, Any] = {node: fx.Proxy(copy, recorder) for node, copy in copies.items()}
    vectors = [torch.flatten(values[vector], 1) for vector in tail.vectors]
    vectors += [
        torch.flatten(_average(layout.arrange(values[node]), layout, grid), 1) for node, layout, grid in averaged
    ]
    joined: Any = torch.cat(vectors, 1)
    graph.output(joined.node)
    return graph, paths


def _average(value: torch.Tensor, layout: Layout, grid: tuple[int, int]) -> torch.Tensor:
    """Average a map (B, C, h, w) over a grid of equal cells, which overlap where they do not divide it evenly."""
    sides = layout.height, layout.width
    stride = [side // cells for side, cells in zip(sides, grid, strict=True)]
    kernel = [side - (cells - 1) * step for side, cells, step in zip(sides, grid, stride, strict=True)]
    return nn.functional.avg_pool2d(value, kernel, stride)
