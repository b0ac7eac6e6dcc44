"""A network's graph: the values at which it can be cut, and the trunk below and the top above each.

A network is traced into a graph (torch.fx). A *cut* is a value through which everything flows: at one point of the
order of the graph, it alone is still needed by later operations. Values that do not depend on the image (parameters,
constants) do not count; trunk and top each get their own. The trunk computes the cut from images, the top computes
the output from the cut, with the same operations as the whole network: top(trunk(x)) equals network(x) to the bit.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torchvision
from timm.layers import get_notrace_functions, get_notrace_modules
from torch import fx, nn
from torchvision.models.feature_extraction import NodePathTracer

from models.networks.graph_network import LINEAR, GraphNetwork
from models.networks.plain_tracing import PlainTracer

if TYPE_CHECKING:
    from collections.abc import Mapping, Set


class SurgeryError(Exception):
    """The network cannot be cut or changed as asked."""

    code: ClassVar[str] = "surgery_error"
    """The error's name in the API."""


class Untraceable(SurgeryError):
    """The operations of the network depend on its input, so that it has no graph."""

    code = "untraceable"


@dataclass(frozen=True)
class TracedNetwork:
    """A network's graph, with the module path of each value."""

    network: nn.Module
    graph: fx.Graph
    paths: Mapping[fx.Node, str]

    @torch.no_grad()
    def fold_sizes(self, images: torch.Tensor) -> TracedNetwork:
        """Fold the sizes that follow from the size of these images (B, 3, H, W) into constants.

        The graph then holds for images of this size alone. Sizes would otherwise flow past every cut.
        Raises Untraceable.
        """
        first, second = _SizeRecorder(self), _SizeRecorder(self)
        try:
            first.run(images)
            second.run(-torch.cat([images, images[:1]]))
        except Exception as error:  # any operation may raise, and with any error, where the trace is wrong
            raise Untraceable(f"The network's graph cannot be run: {error}") from error
        return self._replace({node: size for node, size in first.sizes.items() if second.sizes.get(node) == size})

    def numel(self, value: fx.Node) -> int:
        """Count the numbers that a value holds for one image; only after `fold_sizes`."""
        numel: int = value.meta[NUMEL]
        return numel

    def find_cuts(self) -> list[fx.Node]:
        """Find every value through which everything flows, in the order of the graph, without input and output."""
        nodes = list(self.graph.nodes)
        flowing = _depends_on(next(node for node in nodes if node.op == "placeholder"))
        order = {node: index for index, node in enumerate(nodes)}
        last_use = {node: max((order[user] for user in node.users), default=-1) for node in flowing}
        found: dict[fx.Node, None] = {}
        alive: set[fx.Node] = set()
        for index, node in enumerate(nodes[:-1]):
            if node in flowing and last_use[node] > index:
                alive.add(node)
            alive = {value for value in alive if last_use[value] > index}
            if len(alive) == 1:
                found[next(iter(alive))] = None
        return [node for node in found if node.op != "placeholder"]

    def find_output_layers(self) -> list[fx.Node]:
        """Find the calls of linear layers and convolutions between which and the output there is no other."""
        found: set[fx.Node] = set()
        seen: set[fx.Node] = set()
        waiting = [_output(self.graph)]
        while waiting:
            for parent in waiting.pop().all_input_nodes:
                if parent.op == "call_module" and isinstance(self.get_module(parent), LINEAR):
                    found.add(parent)
                elif parent not in seen:
                    seen.add(parent)
                    waiting.append(parent)
        return sorted(found)

    @property
    def output(self) -> fx.Node:
        """The value that the network returns."""
        (output,) = _output(self.graph).all_input_nodes
        return output

    def get_module(self, call: fx.Node) -> nn.Module:
        """Get the module that a node calls."""
        return self.network.get_submodule(str(call.target))

    def find_below(self, *values: fx.Node) -> set[fx.Node]:
        """Find these values and everything that they are computed from."""
        return set(values).union(*(_ancestors(value) for value in values))

    def collect_parameters(self, nodes: Set[fx.Node]) -> dict[str, nn.Parameter]:
        """Collect the parameters that these nodes use, in the order of the graph, by their names in the network."""
        found: dict[str, nn.Parameter] = {}
        for node in self.graph.nodes:
            if node in nodes and node.op == "call_module":
                own = self.get_module(node).named_parameters()
                found.update((f"{node.target}.{name}", parameter) for name, parameter in own)
            elif node in nodes and node.op == "get_attr":
                value = attrgetter(str(node.target))(self.network)
                if isinstance(value, nn.Parameter):
                    found[str(node.target)] = value
        return found

    def build_trunk(self, *values: fx.Node) -> fx.GraphModule:
        """Build the network from the image up to these values; it returns a tuple if there are several.

        Its parameters are the network's own, under the same names.
        """
        graph = fx.Graph()
        below = self.find_below(*values)
        copies: dict[fx.Node, fx.Node] = {}
        for node in self.graph.nodes:
            if node in below:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        return self._build(graph, [copies[value] for value in values])

    def build_top(self, cut: fx.Node, *values: fx.Node) -> fx.GraphModule:
        """Build the network from a cut up to these values; it returns a tuple if there are several.

        Its parameters are the network's own, under the same names.
        """
        graph = fx.Graph()
        copies = {cut: graph.placeholder("features")}
        needed = set(values).union(*(_ancestors(value, stop=cut) for value in values if value is not cut))
        for node in self.graph.nodes:
            if node in needed and node is not cut:
                copies[node] = graph.node_copy(node, copies.__getitem__)
        return self._build(graph, [copies[value] for value in values])

    def _build(self, graph: fx.Graph, values: list[fx.Node]) -> fx.GraphModule:
        first, *more = values
        graph.output((first, *more) if more else first)
        return fx.GraphModule(self.network, graph)

    def copy(self) -> TracedNetwork:
        """Copy the graph."""
        return self._replace({})

    def leave_out(self, replacements: Mapping[fx.Node, fx.Node]) -> TracedNetwork:
        """Put earlier values in the places of later ones, and leave out what nothing needs then."""
        return self._replace(replacements)

    def bypass(self, layer: fx.Node) -> TracedNetwork:
        """Take a layer out of the graph: its input takes the place of its output."""
        return self._replace({layer: layer.all_input_nodes[0]})

    def _replace(self, replacements: Mapping[fx.Node, Any]) -> TracedNetwork:
        """Copy the graph with some nodes replaced by earlier nodes or by constants."""
        graph = fx.Graph()
        copies: dict[fx.Node, Any] = {}
        paths: dict[fx.Node, str] = {}
        for node in self.graph.nodes:
            if node in replacements:
                replacement = replacements[node]
                copies[node] = copies[replacement] if isinstance(replacement, fx.Node) else replacement
                continue
            copies[node] = graph.node_copy(node, copies.__getitem__)
            paths[copies[node]] = self.paths.get(node, node.name)
        return TracedNetwork(self.network, graph, paths)


def trace(network: nn.Module, plain_size: tuple[int, int, int] | None = None) -> TracedNetwork:
    """Trace a network in evaluation mode, with images as its only input; raises Untraceable.

    A GraphNetwork has its graph already. plain_size: (3, H, W), for operations of plain torch on images of this size.
    """
    if isinstance(network, GraphNetwork):
        graph, paths = network.graph, network.paths
        return TracedNetwork(network, graph, {node: paths.get(node.name, node.name) for node in graph.nodes}).copy()
    network.eval()  # LeViT's attention then forgets the biases that it has computed, which may be of another trace
    tracer = PlainTracer(plain_size) if plain_size is not None else _build_tracer()
    parameters = inspect.signature(network.forward).parameters.values()
    # Optional arguments keep their defaults: a proxy in their place would look like an argument that is given.
    defaults = {
        parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty
    }
    try:
        graph = tracer.trace(network, defaults)
    except Exception as error:  # the network's own code may raise any error when it meets a proxy
        raise Untraceable(f"The network cannot be traced: {error}") from error
    finally:
        network.train().eval()  # layers that keep what they computed forget what they were given here
    return TracedNetwork(network, graph, tracer.node_to_qualname)


def _build_tracer() -> _Tracer:
    return _Tracer(
        autowrap_modules=(math, torchvision.ops),
        autowrap_functions=tuple(f for f in get_notrace_functions() if callable(f)),
        leaf_modules=get_notrace_modules(),
    )


NUMEL = "numel"
"""Key of a node's metadata: how many numbers the value holds for one image."""


class _Tracer(NodePathTracer):  # type: ignore[misc]
    """Torchvision's tracer, with each linear layer and convolution of timm's own classes as one operation too."""

    def is_leaf_module(self, m: nn.Module, module_qualname: str) -> bool:
        """Tell whether a module is one operation of the graph."""
        return isinstance(m, LINEAR) or super().is_leaf_module(m, module_qualname)


class _SizeRecorder(fx.Interpreter):
    """Runs a graph and records which values are integers, or tuples or lists of integers."""

    def __init__(self, traced: TracedNetwork) -> None:
        super().__init__(fx.GraphModule(traced.network, traced.graph))
        self.sizes: dict[fx.Node, int | tuple[int, ...] | list[int]] = {}
        self._originals = dict(zip(self.graph.nodes, traced.graph.nodes, strict=True))

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        value = super().run_node(n)
        if isinstance(value, torch.Tensor) and value.ndim:
            self._originals[n].meta[NUMEL] = value[0].numel() if len(value) else 0
        if type(value) is int:
            self.sizes[self._originals[n]] = value
        elif isinstance(value, tuple | list) and all(type(one) is int for one in value):
            self.sizes[self._originals[n]] = list(value) if isinstance(value, list) else tuple(value)
        return value


def _output(graph: fx.Graph) -> fx.Node:
    output: fx.Node = next(iter(reversed(graph.nodes)))
    return output


def _depends_on(source: fx.Node) -> set[fx.Node]:
    """Find `source` and everything that is computed from it."""
    found = {source}
    for node in source.graph.nodes:
        if any(parent in found for parent in node.all_input_nodes):
            found.add(node)
    return found


def _ancestors(node: fx.Node, stop: fx.Node | None = None) -> set[fx.Node]:
    """Find everything that `node` is computed from, but nothing beyond `stop`."""
    found: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        for parent in waiting.pop().all_input_nodes:
            if parent not in found:
                found.add(parent)
                if parent is not stop:
                    waiting.append(parent)
    return found
