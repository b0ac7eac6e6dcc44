"""Candidate cuts of a network, and what each costs below, above and in the cache."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.utils.flop_counter import FlopCounterMode

from models.catalog.cuts import CandidateCut
from models.networks.feature_network import PreLogits
from models.networks.tracing import TracedNetwork, Untraceable, trace
from models.networks.types import HeadedNetwork, as_module

if TYPE_CHECKING:
    from collections.abc import Set

    from models.networks.feature_network import FeatureNetwork
    from models.networks.types import TimmNetwork

BYTES_PER_NUMBER = 2
"""Bytes of one number in the feature cache."""


def inspect(network: TimmNetwork, input_size: tuple[int, int, int]) -> dict[str, Any]:
    """List the stages and cuts of a network with their costs for one image; it may be on the meta device.

    Multiply-adds count convolutions and matrix products, as papers do. A network that has no graph has one cut,
    before its classifier. Raises SurgeryError.
    """
    network.eval().requires_grad_(False)
    image = torch.empty(1, *input_size, device=next(network.parameters()).device)
    with torch.no_grad():  # in inference mode, networks that keep what they computed could not be trained after
        try:
            parameters, multiply_adds, cuts = _inspect_graph(trace(as_module(network)).fold_sizes(image), image)
        except Untraceable as error:
            parameters, multiply_adds, cuts = _inspect_classifier(network, image, error)
    return {
        "parameters": parameters,
        "multiply_adds": multiply_adds,
        "stages": list(dict.fromkeys(cut["stage"] for cut in cuts)),
        "cuts": cuts,
    }


def _inspect_graph(traced: TracedNetwork, image: torch.Tensor) -> tuple[int, int, list[dict[str, Any]]]:
    """Count parameters and multiply-adds, and list all cuts."""
    costs = count_costs(traced, image)
    total = sum(costs.multiply_adds.values())
    parameters = _count_parameters(traced, set(traced.graph.nodes))
    cuts = []
    for cut in traced.find_cuts():
        if cut not in costs.shapes:  # no tensor
            continue
        below = traced.find_below(cut)
        parameters_below = _count_parameters(traced, below)
        multiply_adds = (costs.count_below(below), total)
        cuts.append(_describe(traced.paths[cut], costs.shapes[cut], multiply_adds, (parameters_below, parameters)))
    return parameters, total, cuts


def _inspect_classifier(
    network: TimmNetwork, image: torch.Tensor, reason: Untraceable
) -> tuple[int, int, list[dict[str, Any]]]:
    """Count parameters and multiply-adds, and list the cut before the classifier; raises `reason` if it cannot run."""
    if not isinstance(network, HeadedNetwork):
        raise reason
    try:
        with FlopCounterMode(display=False) as whole:
            network(image)
        with FlopCounterMode(display=False) as below:
            features = PreLogits(network)(image)
        above = sum(parameter.numel() for parameter in network.get_classifier().parameters())
    except Exception:  # the network may read the image's values
        raise reason from None
    parameters = sum(parameter.numel() for parameter in network.parameters())
    total, multiply_adds = whole.get_total_flops() // 2, below.get_total_flops() // 2
    cut = _describe("forward_head", features.shape, (multiply_adds, total), (parameters - above, parameters))
    return parameters, total, [cut]


def _describe(
    path: str, shape: torch.Size, multiply_adds: tuple[int, int], parameters: tuple[int, int]
) -> dict[str, Any]:
    """Describe one cut by the shape of its value for one image, and by the costs (below it, in all)."""
    return {
        "name": path,
        "stage": stage_of(path),
        "shape": list(shape[1:]),
        "bytes_per_feature": BYTES_PER_NUMBER * math.prod(shape[1:]),
        "multiply_adds_below": multiply_adds[0],
        "multiply_adds_above": multiply_adds[1] - multiply_adds[0],
        "parameters_below": parameters[0],
        "parameters_above": parameters[1] - parameters[0],
    }


def list_candidate_cuts(feature_network: FeatureNetwork) -> list[CandidateCut]:
    """List the cuts of a network from bottom to top; the last is the input of its classifier."""
    tail = feature_network.tail
    image = feature_network.sample_images[:1]
    end, found = feature_network.cut, []
    if tail.traced is None:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            feature_network.trunk(image)
        cost = counter.get_total_flops() // 2
    else:
        costs = count_costs(tail.traced, image)
        cost = costs.count_below(tail.traced.find_below(*tail.vectors))
        for name, cut in tail.cuts.items():
            if cut in costs.shapes:
                bytes_per_image = BYTES_PER_NUMBER * math.prod(costs.shapes[cut][1:])
                below = costs.count_below(tail.traced.find_below(cut))
                found.append(CandidateCut(name, stage_of(name), below, bytes_per_image))
    if not found or found[-1].name != end:  # several vectors, or a value that not everything flows through
        found.append(CandidateCut(end, stage_of(end.split(" + ")[0]), cost))
    return found


class Costs(fx.Interpreter):
    """Runs a graph and records each node's multiply-adds and the shape of its value."""

    def __init__(self, traced: TracedNetwork) -> None:
        super().__init__(fx.GraphModule(traced.network, traced.graph))
        self.multiply_adds: dict[fx.Node, int] = {}
        self.shapes: dict[fx.Node, torch.Size] = {}
        self._counter = FlopCounterMode(display=False)
        self._originals = dict(zip(self.graph.nodes, traced.graph.nodes, strict=True))

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run the graph."""
        with self._counter:
            return super().run(*args, **kwargs)

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and record its multiply-adds and the shape of its value."""
        before = self._counter.get_total_flops()
        value = super().run_node(n)
        original = self._originals[n]
        self.multiply_adds[original] = (self._counter.get_total_flops() - before) // 2
        if isinstance(value, torch.Tensor):
            self.shapes[original] = value.shape
        return value

    def count_below(self, nodes: Set[fx.Node]) -> int:
        """Add up the multiply-adds of these nodes."""
        return sum(self.multiply_adds[node] for node in nodes)


@torch.no_grad()
def count_costs(traced: TracedNetwork, image: torch.Tensor) -> Costs:
    """Run a graph on one image (1, 3, H, W) and count what each node costs."""
    costs = Costs(traced)
    costs.run(image)
    return costs


def _count_parameters(traced: TracedNetwork, nodes: Set[fx.Node]) -> int:
    """Count the numbers in all parameters that these nodes use, shared ones once."""
    found = {id(parameter): parameter.numel() for parameter in traced.collect_parameters(nodes).values()}
    return sum(found.values())


CONTAINERS = ("body", "features")
"""Names of modules that hold all stages."""


def stage_of(path: str) -> str:
    """Name the stage of a path: layer3 of layer3.1.conv2, blocks.5 of blocks.5.add, features.norm5 of itself."""
    first, *rest = path.split(".")
    if rest and first in CONTAINERS:
        return f"{first}.{stage_of('.'.join(rest))}"
    return f"{first}.{rest[0]}" if rest and rest[0].isdecimal() and not first[-1].isdecimal() else first
