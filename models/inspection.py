"""Inspection: where a network can be cut, and what each cut costs above, below and in the cache."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.utils.flop_counter import FlopCounterMode

from models import surgery

if TYPE_CHECKING:
    from torch import nn

HALF = 2
"""Bytes of a number in the cache."""


def inspect(network: nn.Module, input_size: tuple[int, int, int]) -> dict[str, Any]:
    """Stages and cuts with their costs, for one picture; the network may lie on the meta device.

    Multiply-adds count convolutions and matrix products, as papers do. Raises SurgeryError.
    """
    traced = surgery.Traced.of(network.eval())
    costs = _Costs(network, traced.graph)
    device = next(network.parameters()).device
    with torch.inference_mode():
        costs.run(torch.empty(1, *input_size, device=device))
    total = sum(costs.multiply_adds.values())
    parameters = _parameters(network, traced.graph.nodes)
    cuts = []
    for cut in traced.cuts():
        shape = costs.shapes.get(cut)
        if shape is None:  # no tensor
            continue
        below = traced.below(cut)
        multiply_adds = sum(costs.multiply_adds[node] for node in below)
        held = _parameters(network, below)
        cuts.append(
            {
                "name": traced.paths[cut],
                "stage": _stage(traced.paths[cut]),
                "shape": list(shape[1:]),
                "bytes_per_feature": HALF * math.prod(shape[1:]),
                "multiply_adds_below": multiply_adds,
                "multiply_adds_above": total - multiply_adds,
                "parameters_below": held,
                "parameters_above": parameters - held,
            }
        )
    return {
        "parameters": parameters,
        "multiply_adds": total,
        "stages": list(dict.fromkeys(cut["stage"] for cut in cuts)),
        "cuts": cuts,
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


def _parameters(network: nn.Module, nodes: Any) -> int:
    """The numbers in all parameters that these nodes use, each once."""
    found: dict[int, int] = {}
    for node in nodes:
        if node.op == "call_module":
            found.update((id(p), p.numel()) for p in network.get_submodule(node.target).parameters())
        elif node.op == "get_attr":
            value = _attribute(network, node.target)
            if isinstance(value, torch.nn.Parameter):
                found[id(value)] = value.numel()
    return sum(found.values())


def _attribute(network: nn.Module, path: str) -> Any:
    value: Any = network
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _stage(path: str) -> str:
    """The part of the network that a path lies in: layer3 of layer3.1.conv2, blocks.5 of blocks.5.add."""
    first, *rest = path.split(".")
    return f"{first}.{rest[0]}" if rest and rest[0].isdecimal() and not first[-1].isdecimal() else first
