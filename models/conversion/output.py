"""The end of a converted network: logits (B, C), without the softmax after them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from models.conversion.errors import UnsupportedModel, UnsupportedOperator
from models.conversion.graph_builder import RANGE
from models.networks.graph_copy import GraphError
from models.networks.graph_network import GraphNetwork

if TYPE_CHECKING:
    from models.conversion.graph_builder import GraphBuilder
    from models.conversion.values import Value

SOFTMAX = (nn.Softmax, nn.LogSoftmax, nn.Sigmoid)
"""Modules at the end that turn logits into probabilities, or into their logarithms."""
PASSING = (torch.flatten, torch.reshape, torch.squeeze, torch.clamp, nn.functional.hardtanh)
"""Functions after a softmax that leave probabilities as they are."""


@dataclass(frozen=True)
class FinishedGraph:
    """A whole graph as a network."""

    network: GraphNetwork
    has_softmax: bool


def is_logits(value: Value) -> bool:
    """Tell whether a value is one vector for each image: (B, C), with axes of length 1 or without."""
    return value.flows and value.batch_axis == 0 and max(value.shape[1:], default=0) == value.shape[1:].numel() > 0


def finish(builder: GraphBuilder, output: Value) -> FinishedGraph:
    """End a graph with its output, and make it a network; raises UnsupportedModel if it is not (B, C)."""
    if not is_logits(output):
        shape = ", ".join(["B", *map(str, output.shape[1:])])
        raise UnsupportedModel(
            f"The network's output has shape ({shape}), where B is the number of images. Graft takes classifiers, with "
            "one vector of logits for each image, (B, C): export the network with its classification head alone."
        )
    if output.ndim != 2:
        output = builder.call(torch.flatten, output, 1, path="", name="flatten_output")
    builder.graph.output(output.node)
    has_softmax = _remove_softmax(builder)
    _remove_ranges(builder.graph)
    fold_biases(builder)
    builder.graph.lint()
    paths = {node.name: path for node, path in builder.paths.items()}
    try:
        return FinishedGraph(GraphNetwork.from_graph(builder.root, builder.graph, paths), has_softmax)
    except GraphError as error:
        raise UnsupportedOperator(f"The network holds an operation that cannot be stored: {error}") from error


def _remove_softmax(builder: GraphBuilder) -> bool:
    """Take a softmax, log-softmax or sigmoid, and what follows it, out of the graph's end."""
    end = get_output(builder.graph)
    after: list[fx.Node] = []
    node = end.all_input_nodes[0]
    while node.target in PASSING:
        after.append(node)
        node = node.all_input_nodes[0]
    found = find_softmax(builder, node)
    if found is None:
        return False
    name, source = found
    for passing in reversed(after):  # a reshape stays, a clamp to what probabilities are does not
        if passing.target not in (torch.clamp, nn.functional.hardtanh):
            arguments = (source, *passing.args[1:])
            with builder.graph.inserting_before(end):
                copied = builder.graph.create_node("call_function", passing.target, arguments, dict(passing.kwargs))
            builder.paths[copied] = builder.paths[passing]
            source = copied
    end.args = (source,)
    builder.note(f"The {name} at the end is left out: the network gives logits.")
    return True


def _remove_ranges(graph: fx.Graph) -> None:
    """Take the clamp to a quantization's range out of the graph's end, so that a linear layer gives the logits."""
    node = get_output(graph).all_input_nodes[0]
    while len(node.users) == 1 and (RANGE in node.meta or node.target in PASSING):
        source = node.all_input_nodes[0]
        if RANGE in node.meta:
            node.replace_all_uses_with(source)
        node = source


def find_softmax(builder: GraphBuilder, node: fx.Node) -> tuple[str, fx.Node] | None:
    """Find the softmax that a node computes, as one module or as exponentials over their sum: (its name, its input)."""
    module = get_module(builder, node)
    if isinstance(module, SOFTMAX):
        return type(module).__name__.lower(), node.all_input_nodes[0]
    if node.op != "call_function" or node.target is not torch.div or len(node.all_input_nodes) != 2:
        return None
    exponential, total = node.all_input_nodes
    if exponential.target is not torch.exp or total.target is not torch.sum or total.args[0] is not exponential:
        return None
    source = exponential.all_input_nodes[0]
    if source.target is torch.sub and len(source.all_input_nodes) == 2:
        logits, largest = source.all_input_nodes
        if largest.target is torch.amax and largest.args[0] is logits:
            source = logits
    return "softmax", source


def fold_biases(builder: GraphBuilder) -> None:
    """Make a vector that is added right after a linear layer or convolution its bias."""
    for node in list(builder.graph.nodes):
        module = get_module(builder, node)
        if not isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d) or len(node.users) != 1:
            continue
        addition = next(iter(node.users))
        if addition.target is not torch.add or len(addition.args) != 2 or addition.args[0] is not node:
            continue
        vector = _as_bias(builder, addition.args[1], module)
        if vector is None or module.bias is None:
            continue
        with torch.no_grad():
            module.bias += vector
        addition.replace_all_uses_with(node)
        builder.graph.erase_node(addition)


def _as_bias(builder: GraphBuilder, argument: Any, module: nn.Linear | nn.Conv1d | nn.Conv2d) -> torch.Tensor | None:
    """Get the constant that is added to each channel of a layer's output, if it is one."""
    if not isinstance(argument, fx.Node) or argument.op != "get_attr":
        return None
    constant = get_constant(builder, argument)
    length, axes = module.weight.shape[0], 0 if isinstance(module, nn.Linear) else module.weight.ndim - 2
    shape = list(constant.shape)
    if constant.numel() != length or shape[len(shape) - 1 - axes :] != [length] + [1] * axes:
        return None
    return constant.detach().reshape(-1)


def get_output(graph: fx.Graph) -> fx.Node:
    """Get the last node of a graph."""
    output: fx.Node = next(iter(reversed(graph.nodes)))
    return output


def get_module(builder: GraphBuilder, node: fx.Node) -> nn.Module | None:
    """Get the module that a node calls, if it calls one."""
    return builder.root.get_submodule(str(node.target)) if node.op == "call_module" else None


def get_constant(builder: GraphBuilder, node: fx.Node) -> torch.Tensor:
    """Get the parameter or buffer that a node reads."""
    path, _, name = str(node.target).rpartition(".")
    constant = getattr(builder.root.get_submodule(path), name)
    assert isinstance(constant, torch.Tensor)
    return constant
