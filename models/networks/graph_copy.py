"""Copies what a graph uses of a module into another, written in one way: closed lists, allowed names, no methods."""

from __future__ import annotations

import keyword
import re
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import fx, nn

from models.networks.graph_operations import DTYPES, FUNCTION_NAMES, FUNCTIONS, NOT_IN_PLACE, describe_module

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch.fx.node import Argument


class GraphError(Exception):
    """The graph holds something that a described network may not, or its description is damaged."""

    code: ClassVar[str] = "graph_unsupported"
    """The error's name in the API."""


RESERVED = {*dir(fx.GraphModule), *dir(nn.Module()), "graph"}
"""Attributes of modules, which no child may hide."""
ASSERTIONS = ("_assert", "_assert_is_none", "_assert_async")
VALUES = (bool, int, float, str, torch.dtype, type(None), type(...))
MAX_DEPTH = 8
"""Deepest nesting of an argument's lists."""


class GraphCopy:
    """Copies a graph, and what it uses of a root module, into another module, all written in one way."""

    def __init__(self, root: nn.Module, graph: fx.Graph, paths: Mapping[str, str], network: nn.Module) -> None:
        self.root = root
        self.original = graph
        self.original_paths = paths
        self.network = network
        self.graph = fx.Graph()
        self.paths: dict[str, str] = {}
        self._copies: dict[fx.Node, fx.Node] = {}
        self._places: dict[str, str] = {}

    def copy(self) -> None:
        """Copy everything that the output needs; raises GraphError."""
        inputs = [node for node in self.original.nodes if node.op == "placeholder"]
        ends = [node for node in self.original.nodes if node.op == "output"]
        if not inputs or len(ends) != 1:
            raise GraphError("The graph needs one input, the images, and one output.")
        needed = find_inputs(ends[0])
        others = [node.name for node in inputs[1:] if node in needed]
        if others or inputs[0] not in needed:
            raise GraphError(f"The graph's output is to depend on one input, the images, not on {others or 'none'}.")
        for node in self.original.nodes:
            if node in needed:
                copied = self._copy(node)
                self._copies[node] = copied
                self.paths.setdefault(copied.name, self.original_paths.get(node.name, node.name))
        if not isinstance(ends[0].args[0], fx.Node):
            raise GraphError("The graph's output is to be one tensor, not several.")
        self.graph.output(self._copies[ends[0].args[0]])

    def _copy(self, node: fx.Node) -> fx.Node:
        if node.op == "placeholder":
            return self.graph.placeholder(node.name)
        if node.op == "get_attr":
            return self._create("get_attr", self._place_tensor(str(node.target)), (), {}, node.name)
        args = tuple(self._convert(argument) for argument in node.args)
        kwargs = {name: self._convert(argument) for name, argument in node.kwargs.items()}
        if node.op == "call_module":
            return self._call(str(node.target), args, kwargs, node.name)
        if node.target is getattr and args[1:] == ("shape",):
            return self._create("call_function", FUNCTIONS["torch.Tensor.size"], args[:1], {}, node.name)
        return self._create("call_function", _find_function(node), args, kwargs, node.name)

    def _create(self, op: str, target: Any, args: tuple[Argument, ...], kwargs: Any, name: str) -> fx.Node:
        return self.graph.create_node(op, target, args, kwargs, name=name)

    def _call(self, path: str, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> fx.Node:
        """Call a module, or each of a sequence's."""
        module = self.root.get_submodule(path)
        if type(module) is not nn.Sequential:
            return self._create("call_module", self._place_module(path, module), args, kwargs, name)
        value = args[0]
        children = list(module.named_children())
        for number, (child, _) in enumerate(children, 1):
            own = name if number == len(children) else f"{name}_{child}"
            value = self._call(f"{path}.{child}", (value,), {}, own)
            self.paths[value.name] = f"{path}.{child}"
        if not children:
            raise GraphError(f"The module {path!r:.100} is an empty nn.Sequential; take it out of the graph.")
        node: fx.Node = value
        return node

    def _place_module(self, path: str, module: nn.Module) -> str:
        if path not in self._places:
            if describe_module(module) is None:
                raise GraphError(f"The module {path!r:.100} is a {type(module).__name__}, which is not in the list.")
            parent, name = self._make_place(path)
            parent.add_module(name, module)
        return self._places[path]

    def _place_tensor(self, path: str) -> str:
        if path not in self._places:
            *containers, last = path.split(".")
            tensor = getattr(self.root.get_submodule(".".join(containers)), last, None)
            if not isinstance(tensor, torch.Tensor):
                raise GraphError(f"{path!r:.100} is no tensor.")
            if tensor.dtype not in DTYPES.values():
                raise GraphError(f"The tensor {path!r:.100} is of the type {tensor.dtype}, which is not in the list.")
            parent, name = self._make_place(path)
            if isinstance(tensor, nn.Parameter):
                parent.register_parameter(name, tensor)
            else:
                parent.register_buffer(name, tensor)
        return self._places[path]

    def _make_place(self, path: str) -> tuple[nn.Module, str]:
        """Make the containers of a path, and find a free name in the last."""
        parent: nn.Module = self.network
        *containers, name = (clean_name(part) for part in path.split("."))
        taken: list[str] = []
        for container in containers:
            free = container
            while not _is_container(getattr(parent, free, None)):
                free = _next_name(free)
            taken.append(free)
            if not hasattr(parent, free):
                parent.add_module(free, nn.Module())
            parent = parent.get_submodule(free)
        while hasattr(parent, name):
            name = _next_name(name)
        self._places[path] = ".".join([*taken, name])
        return parent, name

    def _convert(self, argument: Any, depth: int = 0) -> Any:
        """Copy an argument, with the copies of the nodes in it."""
        if isinstance(argument, fx.Node):
            return self._copies[argument]
        if depth > MAX_DEPTH:
            raise GraphError(f"An argument has lists nested deeper than {MAX_DEPTH}.")
        if isinstance(argument, list):
            return [self._convert(one, depth + 1) for one in argument]
        if isinstance(argument, tuple):
            return tuple(self._convert(one, depth + 1) for one in argument)
        if isinstance(argument, slice):
            return slice(*(self._convert(one, depth + 1) for one in (argument.start, argument.stop, argument.step)))
        if type(argument) not in VALUES:
            raise GraphError(f"An argument is of the type {type(argument).__name__}: {argument!r:.100}.")
        return argument


def _find_function(node: fx.Node) -> Any:
    """Find the function that a node calls, in the closed list."""
    is_method = node.op == "call_method"
    target: Any = FUNCTIONS.get(f"torch.Tensor.{node.target}") if is_method else node.target
    function = NOT_IN_PLACE.get(target, target)
    if function is None or function not in FUNCTION_NAMES:
        name = getattr(node.target, "__name__", node.target)
        raise GraphError(f"The graph calls {name!r:.100}, which is not in the list of functions (at {node.name}).")
    return function


def _is_container(module: Any) -> bool:
    return module is None or type(module) is nn.Module


def _next_name(name: str) -> str:
    """Give the next name to try: fc, fc_1, fc_2, …."""
    stem, _, number = name.rpartition("_")
    if stem and number.isdecimal():
        return f"{stem}_{int(number) + 1}"
    return f"_{name}_1" if name.isdecimal() else f"{name}_1"


def find_inputs(node: fx.Node) -> set[fx.Node]:
    """Find everything that a node is computed from."""
    found: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        new = [parent for parent in waiting.pop().all_input_nodes if parent not in found]
        found.update(new)
        waiting += new
    return found


def clean_name(name: str) -> str:
    """Change a name as little as is needed for it to be that of a module's child or tensor."""
    cleaned = re.sub(r"__+", "_", re.sub(r"[^A-Za-z0-9_]", "_", name)) or "_"
    if cleaned.isdecimal():
        return cleaned
    cleaned = f"_{cleaned}" if cleaned[0].isdecimal() else cleaned
    return f"{cleaned.rstrip('_')}_" if keyword.iskeyword(cleaned) or cleaned in RESERVED else cleaned
