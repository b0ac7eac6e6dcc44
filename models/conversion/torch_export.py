"""A torch module → a GraphNetwork, through torch.export: modules of torch.nn and plain torch functions only.

torch.export runs the module's Python code once, on tensors without values, and records the operators that it calls,
with a batch of any size. The graph is then built anew: layers become torch.nn modules under their own paths, other
operators the torch functions of the same name. What depends on no image is settled for a batch of one image: it is
kept as a constant, or as operations where it is computed from weights, which may be trained.
"""

from __future__ import annotations

import operator
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from models.conversion.errors import UnsupportedModel, UnsupportedOperator
from models.conversion.torch_modules import build_module
from models.conversion.torch_operators import BROADCASTING, FUNCTIONS, SKIPPED, emit_specially
from models.conversion.torch_paths import add, find, shorten
from models.conversion.torch_values import Kind, Values, count_batch, is_batched
from models.networks.graph_network import GraphNetwork
from models.networks.tracing import trace

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BATCH = 1 << 16
"""Largest batch that the exported module is asked to take; it takes larger ones too."""
MAX_REASON = 300
"""Most characters of an error of torch's."""
WRAPPER = "network."
"""Prefix of the paths in a module that wraps the network in an attribute of this name."""


class Wrapper(nn.Module):
    """Images → one tensor: subclasses run `network` and choose which of its outputs is taken."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


@torch.no_grad()
def convert(wrapper: Wrapper, input_size: tuple[int, int, int], *, has_classifier: bool) -> GraphNetwork:
    """Convert a module that maps images (B, 3, H, W) of one size to logits (B, C), or else to features (B, D).

    The network shares the module's parameters. Raises UnsupportedModel, UnsupportedOperator.
    """
    exported = _export(wrapper, input_size)
    builder = _Builder(exported, wrapper, has_classifier=has_classifier)
    for node in exported.graph.nodes:
        builder.add(node)
    network = builder.finish()
    if has_classifier:
        _give_bias(network)
    return network


def _give_bias(network: GraphNetwork) -> None:
    """Give the layers that give the logits a bias, of zeros, which every classifier of Graft has."""
    traced = trace(network)
    for layer in map(traced.get_module, traced.find_output_layers()):
        if layer.bias is None:
            layer.bias = nn.Parameter(torch.zeros(len(layer.weight)), requires_grad=False)


def _export(wrapper: Wrapper, input_size: tuple[int, int, int]) -> fx.GraphModule:
    """Export a module for a batch of any size, without operators that change tensors in place."""
    images = torch.zeros(2, *input_size)
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    wrapper.eval().requires_grad_(False)
    for module in wrapper.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # what is left in place takes a second pass
    try:
        program = torch.export.export(wrapper, (images,), dynamic_shapes=({0: batch},), strict=False)
        if any(_is_in_place(node) for node in program.graph.nodes):
            program = program.run_decompositions({})
        return program.module(check_guards=False)
    except Exception as error:  # the module's own code may raise any error where a value of a tensor is asked for
        reason = " ".join(str(error).split())[:MAX_REASON]
        raise UnsupportedModel(
            f"The network has no graph that holds for every image and every number of images ({reason}). "
            "Export it as ONNX with a dynamic batch, and send that file."
        ) from error


def _is_in_place(node: fx.Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


class _Builder:
    """Builds a graph of modules and functions from an exported one, node by node."""

    def __init__(self, exported: fx.GraphModule, wrapper: Wrapper, *, has_classifier: bool) -> None:
        self.has_classifier = has_classifier
        self.exported, self.wrapper = exported, wrapper
        self.values = Values(exported)
        self.graph, self.root = fx.Graph(), nn.Module()
        self.paths: dict[str, str] = {}
        """Name of each new node → its path."""
        self._new: dict[fx.Node, Any] = {}
        self._modules: dict[str, Any] = {}
        """What a module at a path was built from."""

    def add(self, node: fx.Node) -> None:
        """Add what an exported node becomes, if anything."""
        if node.op == "placeholder":
            self._new[node] = self.graph.placeholder("images")
        elif node.op == "output":
            self._add_output(self._get_output(node))
        elif node.op == "call_function" and node.users and self._is_emitted(node):
            self._new[node] = self._emit(node)

    def finish(self) -> GraphNetwork:
        """Build the network."""
        return GraphNetwork.from_graph(self.root.eval(), self.graph, shorten(self.paths))

    def _add_output(self, output: fx.Node) -> None:
        value = self.argument(output)
        if not self.has_classifier:  # a last projection would else look like a classifier, and be replaced
            value = self.call(output, torch.clone, value)
        self.graph.output(value)

    def _get_output(self, node: fx.Node) -> fx.Node:
        (outputs,) = node.args
        (output,) = outputs if isinstance(outputs, tuple | list) else (outputs,)
        assert isinstance(output, fx.Node)
        if self.values.kinds[output] is not Kind.IMAGES or not is_batched(output):
            raise UnsupportedModel(
                "The network's output does not depend on the image. Send a trained image classifier."
            )
        return output

    def _is_emitted(self, node: fx.Node) -> bool:
        """Tell whether a node stays an operation: it depends on images, or on weights that may be trained."""
        return self.values.kinds[node] in (Kind.IMAGES, Kind.WEIGHTS) and node.target not in self.values.sizes

    def _emit(self, node: fx.Node) -> Any:
        if node.target in SKIPPED and SKIPPED[node.target](node):
            return self.argument(node.args[0])
        built = build_module(node, self.get_tensor)
        if built is not None:
            return self._call_module(node, *built)
        special = emit_specially(self, node)
        if special is not None:
            return special
        function = FUNCTIONS.get(node.target)
        if function is None:
            where = self.get_path(node) or "its forward"
            raise UnsupportedOperator(
                f"The network uses {node.target} in {where}, which has no counterpart here. "
                "Export it as ONNX, or without that operator, and send that file."
            )
        repeats = node.target not in BROADCASTING
        arguments = fx.node.map_aggregate(node.args, lambda value: self.argument(value, node, repeats=repeats))
        named = fx.node.map_aggregate(node.kwargs, lambda value: self.argument(value, node, repeats=repeats))
        return self.call(node, function, *arguments, **named)

    def call(self, node: fx.Node, function: Any, *arguments: Any, **named: Any) -> fx.Node:
        """Call a function at an exported node's path."""
        new = self.graph.call_function(function, arguments, named)
        self._name(new, self.get_path(node), function.__name__)
        return new

    def _call_module(self, node: fx.Node, module: nn.Module, weight: str | None, taken: Sequence[Any]) -> fx.Node:
        path = self.get_path(node) if weight is None else weight.removeprefix(WRAPPER)
        if weight is None and self._is_container(path):
            path = ".".join(filter(None, (path, type(module).__name__.lower())))
        path = self._place(path, module)
        new = self.graph.call_module(path, (self.argument(taken[0], node),))
        self._name(new, path)
        return new

    def _place(self, path: str, module: nn.Module) -> str:
        """Put a module at a path, or at the next free one; a module that is called again is there already."""
        about = (repr(module), [id(tensor) for tensor in (*module.parameters(), *module.buffers())])
        path = self._leave_modules(path)
        wanted, count = path, 0
        while self._modules.get(path, about) != about or (path not in self._modules and find(self.root, path)):
            count += 1
            path = f"{wanted}_{count}"
        if path not in self._modules:
            self._modules[path] = about
            add(self.root, path, module)
        return path

    def _leave_modules(self, path: str) -> str:
        """Change a path inside of a module that is there already, which has no room for others: norm.act → norm_act."""
        parts = path.split(".")
        inside = next((end for end in range(1, len(parts)) if ".".join(parts[:end]) in self._modules), None)
        return path if inside is None else ".".join([*parts[: inside - 1], "_".join(parts[inside - 1 :])])

    def get_path(self, node: fx.Node) -> str:
        """Get the path of the module whose code calls an exported node."""
        stack = node.meta.get("nn_module_stack") or {}
        path = str(next(reversed(stack.values()))[0]) if stack else ""
        path = path.replace("L['self']", "").replace("[", ".").replace("]", "").replace("'", "")
        path = ".".join(part for part in path.split(".") if part)
        return f"{path}.".removeprefix(WRAPPER).rstrip(".")

    def _is_container(self, path: str) -> bool:
        """Tell whether a module of the network has more than one operation."""
        module = find(self.wrapper.network, path) if path else self.wrapper.network
        return module is None or any(True for _ in module.children()) or any(True for _ in module.parameters())

    def _name(self, new: fx.Node, path: str, operation: str | None = None) -> None:
        """Name a new node by a path that no other has."""
        wanted = path if operation is None else ".".join(filter(None, (path, operation)))
        used, count, unique = set(self.paths.values()), 0, wanted
        while unique in used:
            count += 1
            unique = f"{wanted}_{count}"
        self.paths[new.name] = unique

    def get_tensor(self, value: Any) -> torch.Tensor | None:
        """Get the tensor of the network that an argument is, under its own name; None if it is computed."""
        if isinstance(value, fx.Node) and value.op == "get_attr":
            tensor = attrgetter(str(value.target))(self.exported)
            return tensor if isinstance(tensor, torch.Tensor) else None
        return None

    def argument(self, value: Any, user: fx.Node | None = None, *, repeats: bool = True) -> Any:
        """Get what an exported argument becomes.

        A value that was settled for a batch of one image is repeated for every image that `user` takes, unless
        `repeats` is false and the user does it by itself.
        """
        if not isinstance(value, fx.Node):
            return value
        if self.flows(value):
            return self._new[value]
        if isinstance(value.meta.get("val"), int | torch.SymInt | float | bool):
            return self._get_number(value, user)
        new = self._new.get(value)
        if new is None:
            new = self._new[value] = self._add_constant(value)
        if user is None or not self.flows(user) or not is_batched(value):
            return new
        return self._repeat(value, new, user, repeats=repeats)

    def _get_number(self, value: fx.Node, user: fx.Node | None) -> Any:
        if user is None or not self.flows(user) or not is_batched(value):
            return self.values.get(value)
        size, times = self.count_images(user), count_batch(value.meta["val"])
        return size if times == 1 else self.call(user, operator.mul, size, times)

    def _repeat(self, value: fx.Node, new: fx.Node, user: fx.Node, *, repeats: bool) -> fx.Node:
        """Repeat a value of one image along its first axis, where it has one number of rows for each image."""
        first, *others = value.meta["val"].shape
        rows = count_batch(first)
        if rows is None or any(is_batched(side) for side in others):
            raise self._refuse_batch(user)
        if rows == 1 and not repeats:
            return new
        size, ones = self.count_images(user), [1] * len(others)
        if rows == 1:
            return self.call(user, torch.Tensor.expand, new, [size, *[-1] * len(others)])
        return self.call(user, torch.Tensor.repeat, new, [size, *ones])

    def count_images(self, user: fx.Node) -> fx.Node:
        """Count the images of the batch by a value that `user` takes, so that nothing else flows past a cut."""
        for value in user.all_input_nodes:
            example = value.meta.get("val")
            if self.flows(value) and isinstance(example, torch.Tensor):
                for place, side in enumerate(example.shape):
                    if is_batched(side) and (rows := count_batch(side)):
                        size = self.call(user, torch.Tensor.size, self._new[value], place)
                        return size if rows == 1 else self.call(user, operator.floordiv, size, rows)
        raise self._refuse_batch(user)

    def _refuse_batch(self, user: fx.Node) -> UnsupportedModel:
        return UnsupportedModel(
            f"The network computes with the number of images of a batch, in {self.get_path(user)}, in a way that has "
            "no counterpart here. Export it as ONNX, and send that file."
        )

    def flows(self, node: fx.Node) -> bool:
        """Tell whether a value depends on images; else it is computed for a batch of one."""
        return self.values.kinds[node] is Kind.IMAGES

    def _add_constant(self, value: fx.Node) -> fx.Node:
        """Add a parameter or buffer of the network under its own name, or a value that was computed under its path."""
        tensor = self.get_tensor(value)
        if tensor is not None:
            path = str(value.target).removeprefix(WRAPPER)
        else:
            tensor = self.values.get(value).clone()
            path = self._leave_modules(".".join(filter(None, (self.get_path(value), value.name))))
        if hasattr(nn.Module, path.rpartition(".")[2]):  # as of a value that is called "to"
            path = f"{path}_constant"
        while find(self.root, path) is not None and find(self.root, path) is not tensor:
            path = f"{path}_constant"
        if find(self.root, path) is None:
            add(self.root, path, tensor if isinstance(tensor, nn.Parameter) else tensor.detach())
        new = self.graph.get_attr(path)
        self._name(new, path)
        return new
