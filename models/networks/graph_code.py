"""Python source of a described network: it imports torch alone, so that a result can be used without Graft."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from models.networks.graph_copy import GraphError
from models.networks.graph_file import build
from models.networks.graph_operations import FUNCTION_NAMES, OPERATORS, describe_module

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models.networks.graph_network import GraphNetwork

SOURCE = '''"""A network for images (B, 3, H, W) in plain PyTorch; it was written by Graft.

    network = load("checkpoint.safetensors")
    logits = network(images)

Class names, the size of the images, their mean and their deviation are in the metadata of the safetensors file.
"""

import torch
from torch import nn


class Network(nn.Module):
    """The layers, under the names that their weights have in the file, and what is computed of them."""

    def __init__(self):
        super().__init__()
{layers}
    def forward(self, {images}):
{steps}


def load(path):
    """Build the network with the weights of a safetensors file, in evaluation mode; needs the safetensors library."""
    from safetensors.torch import load_file

    network = Network()
    network.load_state_dict(load_file(path))
    return network.eval()


def place(root, path, child):
    """Add a layer, a parameter (trained) or a buffer (constant) at a path, with the modules on the way to it."""
    *containers, name = path.split(".")
    for container in containers:
        if not hasattr(root, container):
            root.add_module(container, nn.Module())
        root = getattr(root, container)
    if isinstance(child, nn.Module):
        root.add_module(name, child)
    elif isinstance(child, nn.Parameter):
        root.register_parameter(name, child)
    else:
        root.register_buffer(name, child)
'''
TAKEN = {"self", "torch", "nn", "place"}
INDENT = " " * 8


def write_source(description: Mapping[str, Any]) -> str:
    """Write a described network as Python source; raises GraphError."""
    network = build(description)
    nodes = list(network.graph.nodes)
    names = _name_values(nodes)
    last_uses = _find_last_uses(nodes)
    steps = []
    for node in nodes[1:-1]:
        steps.append(f"{names[node]} = {_format_call(node, names)}")
        if last_uses[node]:
            steps.append(f"del {', '.join(names[value] for value in last_uses[node])}")
    steps.append(f"return {_format(nodes[-1].args[0], names)}")
    source = SOURCE.replace("{images}", names[nodes[0]]).replace("{layers}", _indent([*_list_layers(network), ""]))
    return source.replace("{steps}", _indent(steps))


def _list_layers(network: GraphNetwork) -> list[str]:
    """List the lines that build layers, parameters and constants."""
    lines = []
    for path, module in network.named_modules():
        facts = describe_module(module)
        if facts is not None:
            arguments = ", ".join(f"{key}={_format(value, {})}" for key, value in facts[1].items())
            lines.append(f"place(self, {path!r}, nn.{facts[0]}({arguments}))")
            continue
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            empty = f"torch.empty({tuple(tensor.shape)}, dtype={tensor.dtype})"
            made = f"nn.Parameter({empty})" if isinstance(tensor, nn.Parameter) else empty
            lines.append(f"place(self, {f'{path}.{name}'.lstrip('.')!r}, {made})")
    return lines


def _indent(lines: list[str]) -> str:
    return "\n".join(f"{INDENT}{line}".rstrip() for line in lines)


def _name_values(nodes: list[fx.Node]) -> dict[fx.Node, str]:
    """Name each value as its node, unless the source has that name for something else."""
    taken = {node.name for node in nodes} | TAKEN
    names = {}
    for node in nodes:
        name = node.name
        while name in TAKEN or (name != node.name and name in taken):
            name += "_"
        taken.add(name)
        names[node] = name
    return names


def _find_last_uses(nodes: list[fx.Node]) -> dict[fx.Node, list[fx.Node]]:
    """Find the values that each node is the last to read."""
    order = {node: index for index, node in enumerate(nodes)}
    found: dict[fx.Node, list[fx.Node]] = defaultdict(list)
    for node in nodes:
        if node.users:
            found[max(node.users, key=order.__getitem__)].append(node)
    return found


def _format_call(node: fx.Node, names: Mapping[fx.Node, str]) -> str:
    if node.op == "get_attr":
        containers, _, name = str(node.target).rpartition(".")
        return f"getattr(self.get_submodule({containers!r}), {name!r})"
    args = [_format(argument, names) for argument in node.args]
    keywords = [f"{name}={_format(value, names)}" for name, value in node.kwargs.items()]
    if node.op == "call_module":
        return f"self.get_submodule({str(node.target)!r})({', '.join([*args, *keywords])})"
    name = FUNCTION_NAMES[node.target]
    if name not in OPERATORS:
        return f"{name}({', '.join([*args, *keywords])})"
    if keywords or len(args) != OPERATORS[name].count("{}"):
        raise GraphError(f"The node {node.name!r:.100} calls {name} with arguments that it cannot have.")
    return OPERATORS[name].format(*args)


def _format(argument: Any, names: Mapping[fx.Node, str]) -> str:
    """Write an argument as Python source."""
    if isinstance(argument, fx.Node):
        return names[argument]
    if isinstance(argument, list):
        return f"[{', '.join(_format(one, names) for one in argument)}]"
    if isinstance(argument, tuple):
        return f"({''.join(f'{_format(one, names)}, ' for one in argument).rstrip()})"
    if isinstance(argument, slice):
        parts = (argument.start, argument.stop, argument.step)
        return f"slice({', '.join(_format(one, names) for one in parts)})"
    if isinstance(argument, float) and not math.isfinite(argument):
        return f'float("{argument}")'
    if isinstance(argument, bool | int | float | str | torch.dtype) or argument is None or argument is ...:
        return "..." if argument is ... else repr(argument)
    raise GraphError(f"An argument is of the type {type(argument).__name__}: {argument!r:.100}.")
