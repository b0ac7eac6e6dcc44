"""Inspection: where a network can be cut, and what each cut costs above, below and in the cache."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.utils.flop_counter import FlopCounterMode

from models.networks import surgery
from models.networks.tracing import Traced, Untraceable

if TYPE_CHECKING:
    from collections.abc import Set

    from torch import nn

    from models.networks.types import TimmNetwork

HALF = 2
"""Bytes of a number in the cache."""


def inspect(network: TimmNetwork, input_size: tuple[int, int, int]) -> dict[str, Any]:
    """Stages and cuts with their costs, for one image; the network may lie on the meta device.

    Multiply-adds count convolutions and matrix products, as papers do. A network that has no graph has one cut,
    before its classifier. Raises SurgeryError.
    """
    network.eval().requires_grad_(False)
    image = torch.empty(1, *input_size, device=next(network.parameters()).device)
    with torch.no_grad():  # in inference mode, networks that keep what they computed could not be trained after
        try:
            parameters, multiply_adds, cuts = _in_graph(network, image)
        except Untraceable as error:
            parameters, multiply_adds, cuts = _before_classifier(network, image, error)
    return {
        "parameters": parameters,
        "multiply_adds": multiply_adds,
        "stages": list(dict.fromkeys(cut["stage"] for cut in cuts)),
        "cuts": cuts,
    }


def _in_graph(network: nn.Module, image: torch.Tensor) -> tuple[int, int, list[dict[str, Any]]]:
    """Parameters, multiply-adds and all cuts; raises Untraceable."""
    traced = Traced.of(network).settled(image)
    costs = _Costs(network, traced.graph)
    costs.run(image)
    total = sum(costs.multiply_adds.values())
    parameters = _parameters(traced, set(traced.graph.nodes))
    cuts = []
    for cut in traced.cuts():
        shape = costs.shapes.get(cut)
        if shape is None:  # no tensor
            continue
        below = traced.below(cut)
        multiply_adds = sum(costs.multiply_adds[node] for node in below)
        held = _parameters(traced, below)
        cuts.append(_cut(traced.paths[cut], shape, (multiply_adds, total), (held, parameters)))
    return parameters, total, cuts


def _before_classifier(
    network: TimmNetwork, image: torch.Tensor, reason: Untraceable
) -> tuple[int, int, list[dict[str, Any]]]:
    """Parameters, multiply-adds and the cut before the classifier; raises `reason` where it cannot be told."""
    try:
        with FlopCounterMode(display=False) as whole:
            network(image)
        with FlopCounterMode(display=False) as below:
            features = surgery.BeforeClassifier(network)(image)
        above = sum(parameter.numel() for parameter in network.get_classifier().parameters())
    except Exception:  # the network may need to see the image, or have no such way
        raise reason from None
    parameters = sum(parameter.numel() for parameter in network.parameters())
    total, multiply_adds = whole.get_total_flops() // 2, below.get_total_flops() // 2
    cut = _cut("forward_head", features.shape, (multiply_adds, total), (parameters - above, parameters))
    return parameters, total, [cut]


def _cut(path: str, shape: torch.Size, multiply_adds: tuple[int, int], parameters: tuple[int, int]) -> dict[str, Any]:
    """One cut: the shape of its value for one image, and what lies below it, of what there is in all."""
    return {
        "name": path,
        "stage": stage_of(path),
        "shape": list(shape[1:]),
        "bytes_per_feature": HALF * math.prod(shape[1:]),
        "multiply_adds_below": multiply_adds[0],
        "multiply_adds_above": multiply_adds[1] - multiply_adds[0],
        "parameters_below": parameters[0],
        "parameters_above": parameters[1] - parameters[0],
    }


class _Costs(fx.Interpreter):
    """Runs a graph, and notes for each node the shape of its value and the multiply-adds that it took."""

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        super().__init__(fx.GraphModule(network, graph))
        self.multiply_adds: dict[fx.Node, int] = {}
        self.shapes: dict[fx.Node, torch.Size] = {}
        self._originals = dict(zip(self.graph.nodes, graph.nodes, strict=True))

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        with FlopCounterMode(display=False) as counter:
            value = super().run_node(n)
        original = self._originals[n]
        self.multiply_adds[original] = counter.get_total_flops() // 2
        if isinstance(value, torch.Tensor):
            self.shapes[original] = value.shape
        return value


def _parameters(traced: Traced, nodes: Set[fx.Node]) -> int:
    """The numbers in all parameters that these nodes use, each once."""
    found = {id(parameter): parameter.numel() for parameter in traced.parameters(nodes).values()}
    return sum(found.values())


CONTAINERS = ("body", "features")
"""Names of parts that hold all stages."""


def stage_of(path: str) -> str:
    """The part that a path lies in: layer3 of layer3.1.conv2, blocks.5 of blocks.5.add, features.norm5 of itself."""
    first, *rest = path.split(".")
    if rest and first in CONTAINERS:
        return f"{first}.{stage_of('.'.join(rest))}"
    return f"{first}.{rest[0]}" if rest and rest[0].isdecimal() and not first[-1].isdecimal() else first
