"""A network's graph: the places where it can be cut, and its parts below and above them.

A network is traced into a graph (torch.fx). A *cut* is a value through which everything flows: at some place in the
order of the graph it alone is still needed by what follows. Values that do not depend on the image (parameters,
constants) do not count; both parts get their own. The trunk computes the cut from images, the top computes the
output from the cut, with the very operations of the whole network: top(trunk(x)) equals network(x) to the bit.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
import torchvision
from timm.layers import get_notrace_functions, get_notrace_modules
from torch import fx, nn
from torchvision.models.feature_extraction import NodePathTracer

if TYPE_CHECKING:
    from collections.abc import Mapping, Set


class SurgeryError(Exception):
    """A network that cannot be operated on as asked."""

    code = "surgery_error"


class Untraceable(SurgeryError):
    """The network's way depends on its input, so that it has no graph."""

    code = "untraceable"


@dataclass(frozen=True)
class Traced:
    """A network's graph, with the path of modules in which each value arises."""

    network: nn.Module
    graph: fx.Graph
    paths: Mapping[fx.Node, str]

    @classmethod
    def of(cls, network: nn.Module) -> Traced:
        """Trace the network as it is in evaluation mode, given images and nothing else; raises Untraceable."""
        network.eval()  # anew: LeViT's attention then forgets what it holds, which may be of another tracing
        tracer = _Tracer(
            autowrap_modules=(math, torchvision.ops),
            autowrap_functions=tuple(f for f in get_notrace_functions() if callable(f)),
            leaf_modules=get_notrace_modules(),
        )
        parameters = inspect.signature(network.forward).parameters.values()
        # What may be left out has its default: a proxy would pass for something that is given.
        defaults = {given.name: given.default for given in parameters if given.default is not given.empty}
        try:
            graph = tracer.trace(network, defaults)
        except Exception as error:  # whatever the network's own code raises when it meets a proxy
            raise Untraceable(f"The network cannot be traced: {error}") from error
        return cls(network, graph, tracer.node_to_qualname)

    @torch.no_grad()
    def settled(self, images: torch.Tensor) -> Traced:
        """The same for images (B, 3, H, W) of this size alone: sizes that follow from it are written as numbers.

        They would otherwise flow past every cut. Raises Untraceable.
        """
        first, second = _Sizes(self), _Sizes(self)
        try:
            first.run(images)
            second.run(-torch.cat([images, images[:1]]))
        except Exception as error:  # whatever an operation raises that the trace got wrong
            raise Untraceable(f"The network's graph cannot be run: {error}") from error
        return self._changed({node: size for node, size in first.found.items() if second.found.get(node) == size})

    def numbers(self, value: fx.Node) -> int:
        """How many numbers of an image a value of a settled graph holds."""
        numbers: int = value.meta[NUMBERS]
        return numbers

    def cuts(self) -> list[fx.Node]:
        """Every value through which everything flows, in the order of the graph; the input and output are none."""
        nodes = list(self.graph.nodes)
        flowing = _depends_on(next(node for node in nodes if node.op == "placeholder"))
        place = {node: index for index, node in enumerate(nodes)}
        last_use = {node: max((place[user] for user in node.users), default=-1) for node in flowing}
        found: dict[fx.Node, None] = {}
        alive: set[fx.Node] = set()
        for index, node in enumerate(nodes[:-1]):
            if node in flowing and last_use[node] > index:
                alive.add(node)
            alive = {value for value in alive if last_use[value] > index}
            if len(alive) == 1:
                found[next(iter(alive))] = None
        return [node for node in found if node.op != "placeholder"]

    def last_layers(self) -> list[fx.Node]:
        """The calls of linear layers and convolutions from which a way leads to the output that passes no other."""
        found: set[fx.Node] = set()
        seen: set[fx.Node] = set()
        waiting = [_output(self.graph)]
        while waiting:
            for parent in waiting.pop().all_input_nodes:
                if parent.op == "call_module" and isinstance(self.module(parent), LINEAR):
                    found.add(parent)
                elif parent not in seen:
                    seen.add(parent)
                    waiting.append(parent)
        return sorted(found)

    @property
    def result(self) -> fx.Node:
        """What the network gives."""
        (result,) = _output(self.graph).all_input_nodes
        return result

    def module(self, call: fx.Node) -> nn.Module:
        """The module that a node calls."""
        return self.network.get_submodule(str(call.target))

    def below(self, *values: fx.Node) -> set[fx.Node]:
        """These values and all that they are computed from."""
        return set(values).union(*(_ancestors(value) for value in values))

    def parameters(self, nodes: Set[fx.Node]) -> dict[str, nn.Parameter]:
        """What these nodes use, in the order of the graph, by names in the network."""
        found: dict[str, nn.Parameter] = {}
        for node in self.graph.nodes:
            if node in nodes and node.op == "call_module":
                own = self.module(node).named_parameters()
                found.update((f"{node.target}.{name}", parameter) for name, parameter in own)
            elif node in nodes and node.op == "get_attr":
                value = attrgetter(str(node.target))(self.network)
                if isinstance(value, nn.Parameter):
                    found[str(node.target)] = value
        return found

    def part(self, cut: fx.Node) -> tuple[fx.GraphModule, fx.GraphModule]:
        """(trunk, top) at one of `cuts()`; their parameters are the network's own, under its own names."""
        return self.trunk(cut), self.top(cut, self.result)

    def top(self, cut: fx.Node, *values: fx.Node) -> fx.GraphModule:
        """The part that computes these values from a cut below them, a tuple if there are several."""
        graph = fx.Graph()
        copies = {cut: graph.placeholder("features")}
        needed = set(values).union(*(_ancestors(value, stop=cut) for value in values if value is not cut))
        for node in self.graph.nodes:
            if node in needed and node is not cut:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        return self._ending(graph, [copies[value] for value in values])

    def trunk(self, *values: fx.Node) -> fx.GraphModule:
        """The part that computes these values, a tuple if there are several."""
        graph = fx.Graph()
        below = self.below(*values)
        copies: dict[fx.Node, fx.Node] = {}
        for node in self.graph.nodes:
            if node in below:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        return self._ending(graph, [copies[value] for value in values])

    def _ending(self, graph: fx.Graph, values: list[fx.Node]) -> fx.GraphModule:
        first, *more = values
        graph.output((first, *more) if more else first)
        return fx.GraphModule(self.network, graph)

    def without(self, layer: fx.Node) -> Traced:
        """The same network, but that what this layer is given passes it unchanged."""
        return self._changed({layer: layer.all_input_nodes[0]})

    def _changed(self, instead: Mapping[fx.Node, Any]) -> Traced:
        """The same, with other values in place of some nodes: nodes before them, or numbers."""
        graph = fx.Graph()
        copies: dict[fx.Node, Any] = {}
        paths: dict[fx.Node, str] = {}
        for node in self.graph.nodes:
            if node in instead:
                given = instead[node]
                copies[node] = copies[given] if isinstance(given, fx.Node) else given
                continue
            copies[node] = graph.node_copy(node, copies.__getitem__)
            paths[copies[node]] = self.paths.get(node, node.name)
        return Traced(self.network, graph, paths)


LINEAR = (nn.Linear, nn.Conv2d)
NUMBERS = "numbers"
"""The name in a node's notes of how many numbers of an image it holds."""


class _Tracer(NodePathTracer):  # type: ignore[misc]
    """Torchvision's, for which also linear layers and convolutions of timm's own classes are one operation each."""

    def is_leaf_module(self, m: nn.Module, module_qualname: str) -> bool:
        """Whether it is not traced through."""
        return isinstance(m, LINEAR) or super().is_leaf_module(m, module_qualname)


class _Sizes(fx.Interpreter):
    """Runs a graph, and notes which values are integers, or several of them."""

    def __init__(self, traced: Traced) -> None:
        super().__init__(fx.GraphModule(traced.network, traced.graph))
        self.found: dict[fx.Node, int | tuple[int, ...] | list[int]] = {}
        self._originals = dict(zip(self.graph.nodes, traced.graph.nodes, strict=True))

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        value = super().run_node(n)
        if isinstance(value, torch.Tensor) and value.ndim:
            self._originals[n].meta[NUMBERS] = value[0].numel() if len(value) else 0
        if type(value) is int:
            self.found[self._originals[n]] = value
        elif isinstance(value, tuple | list) and all(type(one) is int for one in value):
            self.found[self._originals[n]] = list(value) if isinstance(value, list) else tuple(value)
        return value


def _output(graph: fx.Graph) -> fx.Node:
    output: fx.Node = next(iter(reversed(graph.nodes)))
    return output


def _depends_on(source: fx.Node) -> set[fx.Node]:
    """`source` and all that is computed from it."""
    found = {source}
    for node in source.graph.nodes:
        if any(parent in found for parent in node.all_input_nodes):
            found.add(node)
    return found


def _ancestors(node: fx.Node, stop: fx.Node | None = None) -> set[fx.Node]:
    """All that `node` is computed from, not looking beyond `stop`."""
    found: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        for parent in waiting.pop().all_input_nodes:
            if parent not in found:
                found.add(parent)
                if parent is not stop:
                    waiting.append(parent)
    return found
