"""A graph network's description as JSON, without its weights: graph.json beside model.safetensors.

Somebody else may have written it: names, classes, functions, sizes and numbers are checked before anything is built,
and nothing is called but torch's own classes and functions of closed lists (graph_operations).
"""

from __future__ import annotations

import json
import math
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from torch import fx, nn

from models.networks.graph_arguments import DTYPE_NAMES, decode, encode
from models.networks.graph_copy import GraphError, clean_name
from models.networks.graph_network import GraphNetwork
from models.networks.graph_operations import DTYPES, FUNCTION_NAMES, FUNCTIONS, MODULES, describe_module

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GRAPH = "graph.json"
MAX_BYTES = 64 << 20
"""Largest description that is read: ten times that of the largest known network."""
MAX_NODES = 100_000
MAX_NUMBERS = 16_000_000_000
"""Most numbers in all weights: the largest network of timm has 6.7 billion."""
MAX_TEXT, MAX_PATH = 255, 64
"""Longest name, and deepest nesting of modules."""
VERSION = 1

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=MAX_TEXT)]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
TensorFacts = tuple[Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=16)], Text]
"""Shape and type."""


class _Checked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NodeDescription(_Checked):
    """One node of the graph."""

    name: Name
    op: Literal["placeholder", "get_attr", "call_module", "call_function", "output"]
    target: Text
    args: list[Any]
    kwargs: dict[Name, Any]
    path: Text


class GraphDescription(_Checked):
    """A network without its weights."""

    version: Literal[1]
    modules: dict[Text, tuple[Text, dict[Name, Any]]] = Field(max_length=MAX_NODES)
    parameters: dict[Text, TensorFacts] = Field(max_length=MAX_NODES)
    buffers: dict[Text, TensorFacts] = Field(max_length=MAX_NODES)
    nodes: list[NodeDescription] = Field(max_length=MAX_NODES)


def describe(network: GraphNetwork) -> dict[str, Any]:
    """Describe a network as JSON can hold it, without its weights; raises GraphError."""
    network = network.simplify()
    modules = {path: describe_module(module) for path, module in network.named_modules(remove_duplicate=False)}
    own: dict[str, dict[str, Any]] = {"parameters": {}, "buffers": {}}
    for node in network.graph.nodes:
        if node.op == "get_attr":
            tensor = attrgetter(str(node.target))(network)
            kind = "parameters" if isinstance(tensor, nn.Parameter) else "buffers"
            own[kind][str(node.target)] = [list(tensor.shape), DTYPE_NAMES[tensor.dtype]]
    nodes = [
        {
            "name": node.name,
            "op": node.op,
            "target": FUNCTION_NAMES[node.target] if node.op == "call_function" else str(node.target),
            "args": [encode(argument) for argument in node.args],
            "kwargs": {name: encode(argument) for name, argument in node.kwargs.items()},
            "path": network.paths.get(node.name, node.name),
        }
        for node in network.graph.nodes
    ]
    known = {path: [facts[0], encode(facts[1])] for path, facts in modules.items() if facts is not None}
    return {"version": VERSION, "modules": known, **own, "nodes": nodes}


def build(description: Mapping[str, Any]) -> GraphNetwork:
    """Build a described network on the meta device, without its weights; raises GraphError."""
    try:
        checked = GraphDescription.model_validate(dict(description))
    except (ValidationError, RecursionError) as error:
        raise GraphError(f"The network's description is damaged: {_first_line(error)}.") from error
    root = nn.Module()
    try:
        with torch.device("meta"):
            for path, (name, arguments) in checked.modules.items():
                _add(root, path, build_module(name, arguments))
            for path, facts in checked.parameters.items():
                _add(root, path, nn.Parameter(_make_tensor(path, facts), requires_grad=False))
            for path, facts in checked.buffers.items():
                _add(root, path, _make_tensor(path, facts))
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, OverflowError, MemoryError) as error:
        raise GraphError(f"A layer of the network's description cannot be built: {_first_line(error)}.") from error
    _check_numbers(root)
    _check_targets(checked)
    graph, paths = _build_graph(checked.nodes)
    return GraphNetwork.from_graph(root, graph, paths)


def load(description: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> GraphNetwork:
    """Build a described network with its weights: exactly those that it names. Raises GraphError."""
    network = build(description)
    expected = {name: (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()}
    missing, unknown = expected.keys() - state.keys(), state.keys() - expected.keys()
    if missing or unknown:
        problem = f"lack {_name_some(missing)}" if missing else f"hold {_name_some(unknown)} too"
        raise GraphError(f"The weights do not fit the network's description: they {problem}.")
    unfit = {name for name, facts in expected.items() if (state[name].shape, state[name].dtype) != facts}
    if unfit:
        raise GraphError(f"Weights are of other shapes or types than the description's: {_name_some(unfit)}.")
    # Copied into memory of torch's own, whose alignment does not depend on the file: kernels round the same then.
    network.to_empty(device="cpu").load_state_dict(dict(state), strict=True)
    return network.requires_grad_(False).eval()


def read(path: Path) -> dict[str, Any]:
    """Read a description from its file, unchecked but for its size; raises GraphError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise GraphError(f"{path.name} is larger than {MAX_BYTES:,} bytes.")
        description = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise GraphError(f"{path.name} cannot be read: {_first_line(error)}.") from error
    if not isinstance(description, dict):
        raise GraphError(f"{path.name} holds no object.")
    return description


def _build_graph(nodes: list[NodeDescription]) -> tuple[fx.Graph, dict[str, str]]:
    graph = fx.Graph()
    made: dict[str, fx.Node] = {}
    for node in nodes:
        if node.op == "call_function" and node.target not in FUNCTIONS:
            raise GraphError(f"The description calls {node.target!r:.100}, which is not in the list of functions.")
        target = FUNCTIONS[node.target] if node.op == "call_function" else node.target
        args = tuple(decode(argument, made) for argument in node.args)
        kwargs = {name: decode(argument, made) for name, argument in node.kwargs.items()}
        if node.op == "placeholder" and (args or kwargs or node.target != node.name):
            raise GraphError(f"The input {node.name!r:.100} of the description is damaged.")
        if node.op in ("get_attr", "output") and (kwargs or len(args) != (node.op == "output")):
            raise GraphError(f"The node {node.name!r:.100} has arguments that it cannot have.")
        made[node.name] = graph.create_node(node.op, target, args, kwargs, name=node.name)
        if made[node.name].name != node.name or len(made) != len(graph.nodes):
            raise GraphError(f"Two nodes are called {node.name!r:.100}, or the name is not allowed.")
    return graph, {node.name: node.path for node in nodes}


def _check_targets(checked: GraphDescription) -> None:
    """Check that nodes call modules and read tensors of the description."""
    places = {"call_module": checked.modules, "get_attr": checked.parameters.keys() | checked.buffers.keys()}
    for node in checked.nodes:
        if node.op in places and node.target not in places[node.op]:
            raise GraphError(f"The node {node.name!r:.100} uses {node.target!r:.100}, which the description lacks.")


def _check_numbers(root: nn.Module) -> None:
    numbers = sum(math.prod(tensor.shape) for tensor in (*root.parameters(), *root.buffers()))
    if numbers > MAX_NUMBERS:
        raise GraphError(f"The network has {numbers:,} weights; at most {MAX_NUMBERS:,} are built.")


def build_module(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Build a module of the closed list; raises GraphError, and what torch raises of arguments that it cannot take."""
    if name not in MODULES:
        raise GraphError(f"The description has a module of the class {name!r:.100}, which is not in the list.")
    unknown = arguments.keys() - set(MODULES[name])
    if unknown:
        raise GraphError(f"A module of the class {name} has an argument {min(unknown)!r:.100}.")
    module: nn.Module = getattr(nn, name)(**{key: decode(value, {}) for key, value in arguments.items()})
    return module


def _make_tensor(path: str, facts: TensorFacts) -> torch.Tensor:
    shape, dtype = facts
    if dtype not in DTYPES:
        raise GraphError(f"The tensor {path!r:.100} is of the type {dtype!r:.100}, which is not in the list.")
    return torch.empty(shape, dtype=DTYPES[dtype])


def _add(root: nn.Module, path: str, child: nn.Module | torch.Tensor) -> None:
    """Add a module or tensor at a path, with the modules on the way to it."""
    *containers, name = path.split(".")
    parent = root
    if len(containers) > MAX_PATH or any(clean_name(part) != part for part in (*containers, name)):
        raise GraphError(f"{path!r:.100} is no allowed name of a module or tensor.")
    for container in containers:
        if container not in parent._modules:
            parent.add_module(container, nn.Module())
        parent = parent.get_submodule(container)
        if type(parent) is not nn.Module:
            raise GraphError(f"{path!r:.100} lies inside of a module that can have no others.")
    if hasattr(parent, name):
        raise GraphError(f"The description has {path!r:.100} twice.")
    if isinstance(child, nn.Module):
        parent.add_module(name, child)
    elif isinstance(child, nn.Parameter):
        parent.register_parameter(name, child)
    else:
        parent.register_buffer(name, child)


def _name_some(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")


def _first_line(error: BaseException) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"[:MAX_TEXT]
    return (str(error).splitlines() or [type(error).__name__])[0][:MAX_TEXT]
