"""A network's graph: the places where it can be cut, and its parts below and above them.

A network is traced into a graph (torch.fx). A *cut* is a value through which everything flows: at some place in the
order of the graph it alone is still needed by what follows. Values that do not depend on the picture (parameters,
constants) do not count; both parts get their own. The trunk computes the cut from pictures, the top computes the
output from the cut, with the very operations of the whole network: top(trunk(x)) equals network(x) to the bit.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torchvision
from timm.layers import get_notrace_functions, get_notrace_modules
from torch import fx, nn
from torchvision.models.feature_extraction import NodePathTracer

if TYPE_CHECKING:
    from collections.abc import Mapping


class SurgeryError(Exception):
    """A network that cannot be operated on as asked."""


class Untraceable(SurgeryError):
    """The network's way depends on its input, so that it has no graph."""


@dataclass(frozen=True)
class Traced:
    """A network's graph, with the path of modules in which each value arises."""

    network: nn.Module
    graph: fx.Graph
    paths: Mapping[fx.Node, str]

    @classmethod
    def of(cls, network: nn.Module) -> Traced:
        """Trace the network, given pictures and nothing else; raises Untraceable."""
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

    def module(self, call: fx.Node) -> nn.Module:
        """The module that a node calls."""
        return self.network.get_submodule(str(call.target))

    def below(self, cut: fx.Node) -> set[fx.Node]:
        """The cut and all that it is computed from."""
        return {cut, *_ancestors(cut)}

    def part(self, cut: fx.Node) -> tuple[fx.GraphModule, fx.GraphModule]:
        """(trunk, top) at one of `cuts()`; their parameters are the network's own, under its own names."""
        top = fx.Graph()
        copies = {cut: top.placeholder("features")}
        output = _output(self.graph)
        needed = _ancestors(output, stop=cut)
        for node in self.graph.nodes:
            if node in needed and node is not cut:
                copies[node] = top.node_copy(node, copies.__getitem__)
        top.output(fx.map_arg(output.args[0], copies.__getitem__))
        return self.trunk(cut), fx.GraphModule(self.network, top)

    def trunk(self, *values: fx.Node) -> fx.GraphModule:
        """The part that computes these values, a tuple if there are several."""
        graph = fx.Graph()
        below = set().union(*(self.below(value) for value in values))
        copies: dict[fx.Node, fx.Node] = {}
        for node in self.graph.nodes:
            if node in below:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        first, *more = (copies[value] for value in values)
        graph.output((first, *more) if more else first)
        return fx.GraphModule(self.network, graph)

    def without(self, layer: fx.Node) -> fx.GraphModule:
        """The whole network, but that what this layer is given passes it unchanged."""
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self.graph.nodes:
            copies[node] = (
                copies[node.all_input_nodes[0]] if node is layer else graph.node_copy(node, copies.__getitem__)
            )
        return fx.GraphModule(self.network, graph)


LINEAR = (nn.Linear, nn.Conv2d)


class _Tracer(NodePathTracer):  # type: ignore[misc]
    """Torchvision's, for which also linear layers and convolutions of timm's own classes are one operation each."""

    def is_leaf_module(self, m: nn.Module, module_qualname: str) -> bool:
        """Whether it is not traced through."""
        return isinstance(m, LINEAR) or super().is_leaf_module(m, module_qualname)


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
