"""Builder of a network's graph: calls of torch's modules and functions, constants folded as they come.

Readers of formats walk through a file's operators and give each to a builder. What does not depend on the images is
computed at once; what does becomes a node. Each value is known for two sizes of batch, on the meta device, so that
arithmetic on sizes, which exporters write as operators, folds into numbers, and the batch's size stays open.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from models.conversion.errors import UnsupportedModel, UnsupportedOperator
from models.conversion.values import BATCHES, Value, collapse_rows, find_values, merge_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_CONSTANT_NUMBERS = 2**26
"""Most numbers in one constant that is computed (256 MB of float32)."""
MAX_FOLDED_NUMBERS = 2**29
"""Most numbers in all constants that are computed."""
MAX_NUMBERS_PER_IMAGE = 2**28
"""Most numbers that a value holds for one image."""
MAX_NODES = 100_000
"""Most nodes of a graph."""
RANGE = "range"
"""Key of a node's metadata, if it is a clamp to the range of a quantization."""
IMAGES = "images"
"""Name of the graph's input."""


class GraphBuilder:
    """Builds the modules and the graph of one network."""

    def __init__(self, input_size: tuple[int, int, int], static_batch: int | None = None) -> None:
        """Start a graph that takes images.

        Args:
            input_size: (3, H, W) of the images.
            static_batch: the size of batch that the file is written for, if its shapes hold for that alone.
        """
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.paths: dict[fx.Node, str] = {}
        self.static_batch = static_batch
        self.notes: dict[str, None] = {}
        self._containers: set[str] = set()
        self._names: dict[str, int] = {}
        self._attributes: dict[int, tuple[torch.Tensor, fx.Node]] = {}
        self._storages: dict[int, torch.Tensor] = {}
        self._folded = 0
        samples = (_empty(BATCHES[0], *input_size), _empty(BATCHES[1], *input_size))
        self.images = self._flow(self.graph.placeholder(IMAGES), IMAGES, samples)

    def note(self, sentence: str) -> None:
        """Add a sentence to the report, once."""
        self.notes[sentence] = None

    def reserve(self, paths: Iterable[str]) -> None:
        """Name the modules of the whole network, so that none is put where others will be inside."""
        for path in paths:
            parts = path.split(".")
            self._containers.update(".".join(parts[:count]) for count in range(1, len(parts)))

    def call(self, function: Callable[..., Any], *arguments: Any, path: str, name: str = "", **options: Any) -> Value:
        """Call a function of values, of lists of values, and of numbers.

        Args:
            function: one of those that a graph's file may name.
            arguments: values, lists of values, and plain arguments.
            path: the path of the module that the call belongs to.
            name: the name of the operation; the function's own if empty.
            options: plain arguments by name.
        """
        values = find_values(arguments)
        if not any(value.flows for value in values):
            return self.fold(function, *arguments, **options)
        arguments = tuple(self._prepare(argument) for argument in arguments)
        samples = tuple(function(*_sample(arguments, index, "meta"), **options) for index in (0, 1))
        nodes = tuple(self._to_argument(argument, path) for argument in arguments)
        node = self.graph.call_function(function, nodes, options)
        value = self._flow(node, self._unique(_join(path, name or function.__name__)), samples)
        return _inherit_parts(value, find_values(arguments))

    def fold(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Value:
        """Compute a value that does not depend on the images."""
        values = find_values(arguments)
        count = 1 if all(value.is_constant for value in values) else 2
        results = []
        for index in range(count):
            shaped = _sample(arguments, index, "meta")
            self._count_folded(_shape_on_meta(function, shaped, options))
            results.append(function(*_sample(arguments, index), **options))
        return Value.constant(results[0]) if count == 1 else merge_samples(results)

    def module(self, module: nn.Module, value: Value, path: str, name: str = "", **tensors: torch.Tensor) -> Value:
        """Call a module of one value.

        Args:
            module: the module, made on the meta device if it has parameters or buffers.
            value: its input.
            path: where it is put, if nothing else is there.
            name: its name inside `path` where that is taken.
            tensors: its parameters and buffers, by name.
        """
        module.eval()
        if not value.flows:
            self._assign(module, tensors)
            with torch.no_grad():
                return self.fold(module, value)
        samples = tuple(module(sample) for sample in value.samples)
        self._assign(module, tensors)
        place = self._place(path, name or type(module).__name__.lower(), module)
        return _inherit_parts(self._flow(self.graph.call_module(place, (value.node,)), place, samples), [value])

    def size(self, value: Value, axis: int, path: str) -> fx.Node:
        """Read the length of one axis of a value that flows, as a node."""
        node = self.graph.call_function(torch.Tensor.size, (value.node, axis))
        self.paths[node] = self._unique(_join(path, "size"))
        return node

    def expand_rows(self, row: Value, like: Value, axis: int, path: str) -> Value:
        """Repeat a constant row for each image of the batch, whose size is that of an axis of another value."""
        lengths = [like.samples[index].shape[axis] for index in (0, 1)]
        sizes = [[length if i == axis else -1 for i in range(row.ndim)] for length in lengths]
        samples = tuple(row.tensor.to("meta").expand(size) for size in sizes)
        size = self.size(like, axis, path)
        open_sizes = [size if i == axis else -1 for i in range(row.ndim)]
        node = self.graph.call_function(torch.Tensor.expand, (self._to_argument(row, path), open_sizes))
        return self._flow(node, self._unique(_join(path, "expand")), samples)

    def _flow(self, node: fx.Node, path: str, samples: tuple[Any, ...]) -> Value:
        """Make the value of a node; raises UnsupportedModel if it is too large or mixes images."""
        self.paths[node] = path
        first, second = samples
        if first.numel() > BATCHES[0] * MAX_NUMBERS_PER_IMAGE:
            raise UnsupportedModel(
                f"A value of this network holds {first.numel() // BATCHES[0]:,} numbers for one image ({path}); the "
                "limit is 268,435,456. Export the network for smaller images."
            )
        if first.shape == second.shape:
            raise UnsupportedModel(
                f"This network mixes the images of a batch at {path}: the value has shape {list(first.shape)} for any "
                "number of images. Export it for one batch of images, with the batch as the first axis of every value."
            )
        if len(self.graph.nodes) > MAX_NODES:
            raise UnsupportedModel(f"This network has more than {MAX_NODES:,} operations. Export a smaller one.")
        return Value((first, second), node)

    def _prepare(self, argument: Any) -> Any:
        """Take one row of each value that repeats itself for each image; operations broadcast it."""
        if isinstance(argument, list | tuple):
            return type(argument)(self._prepare(one) for one in argument)
        if not isinstance(argument, Value) or argument.flows or argument.is_constant:
            return argument
        row = collapse_rows(argument, self.static_batch)
        if row is None:
            raise UnsupportedModel(
                "This network computes with numbers that depend on the size of the batch. Export it with a fixed "
                "batch of 1."
            )
        return row

    def _to_argument(self, argument: Any, path: str) -> Any:
        """Convert a value, or those in a list, into an argument of a node."""
        if isinstance(argument, list | tuple):
            return type(argument)(self._to_argument(one, path) for one in argument)
        if not isinstance(argument, Value):
            return argument
        if argument.node is not None:
            return argument.node
        return self.attribute(argument.tensor, path)

    def attribute(self, tensor: torch.Tensor, path: str) -> fx.Node:
        """Get a constant tensor as a parameter or buffer of the network.

        Floats are parameters, which can be trained, unless they hold two different numbers or fewer: masks.
        """
        if id(tensor) in self._attributes:
            return self._attributes[id(tensor)][1]
        is_trainable = tensor.is_floating_point() and _holds_three_numbers(tensor)
        own = self._own(tensor)
        holder, name, place = self._find_room(path, "weight" if is_trainable else "constant")
        if is_trainable:
            holder.register_parameter(name, nn.Parameter(own))
        else:
            holder.register_buffer(name, own)
        node = self.graph.get_attr(place)
        self.paths[node] = place
        self._attributes[id(tensor)] = (tensor, node)
        return node

    def _own(self, tensor: torch.Tensor) -> torch.Tensor:
        """Copy a tensor whose memory another parameter has: training would change both."""
        tensor = tensor.detach().contiguous()
        pointer = tensor.untyped_storage().data_ptr()
        if pointer in self._storages or tensor.untyped_storage().nbytes() > tensor.nbytes:
            tensor = tensor.clone()
        self._storages[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    def _assign(self, module: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
        """Give a module its parameters and buffers."""
        for name, tensor in tensors.items():
            current = getattr(module, name)
            if current.shape != tensor.shape:
                raise UnsupportedOperator(f"A {name} has shape {list(tensor.shape)}, not {list(current.shape)}.")
            own = self._own(tensor)
            setattr(module, name, nn.Parameter(own) if isinstance(current, nn.Parameter) else own)

    def _place(self, path: str, name: str, module: nn.Module) -> str:
        """Put a module at a path, or inside it if the path is taken; returns where it is."""
        holder, last, place = self._find_room(path, name)
        holder.add_module(last, module)
        return place

    def _find_room(self, path: str, name: str) -> tuple[nn.Module, str, str]:
        """Find where a module or tensor fits: (the module that holds it, its name there, its path)."""
        is_free = path and path not in self._containers and path not in self._names and name != "weight"
        place = self._unique(path if is_free and name != "constant" else _join(path, name))
        holder, parts, done = self.root, place.split("."), list[str]()
        while len(parts) > 1:
            child = getattr(holder, parts[0], None)
            if child is None:
                child = nn.Module()
                holder.add_module(parts[0], child)
            if type(child) is not nn.Module:  # a layer: nothing else goes inside
                flat = self._unique(".".join([*done, "_".join(parts)]))
                return holder, flat.split(".")[-1], flat
            holder, done, parts = child, [*done, parts[0]], parts[1:]
        if not hasattr(holder, parts[0]):
            return holder, parts[0], place
        return self._find_room(place, f"{name}_inner")

    def _unique(self, path: str) -> str:
        """Number a path that was given before."""
        while path in self._names:
            self._names[path] += 1
            path = f"{path}_{self._names[path]}"
        self._names[path] = 0
        return path

    def _count_folded(self, result: torch.Tensor | None) -> None:
        """Check that a constant is not too large, before it is computed."""
        numel = 0 if result is None else result.numel()
        self._folded += numel
        if numel > MAX_CONSTANT_NUMBERS or self._folded > MAX_FOLDED_NUMBERS:
            raise UnsupportedModel(
                f"The file computes constants of {max(numel, self._folded):,} numbers, more than are taken. Export the "
                "network with constant folding."
            )


def _inherit_parts(value: Value, sources: list[Value]) -> Value:
    """Take over the parts of the batch's axis from a value that it was computed from, if the axis is as long."""
    for source in sources:
        if source.parts > 1 and source.shape[source.batch_axis or 0] == value.shape[value.batch_axis or 0]:
            return replace(value, parts=source.parts)
    return value


def _holds_three_numbers(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor holds at least three different numbers."""
    return tensor.numel() > 2 and bool(((tensor != tensor.min()) & (tensor != tensor.max())).any())


def _empty(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


def _sample(arguments: Any, index: int, device: str | None = None) -> Any:
    """Replace values in nested arguments by one of their samples."""
    if isinstance(arguments, Value):
        sample = arguments.samples[index]
        return sample if device is None else sample.to(device)
    if isinstance(arguments, tuple | list):
        return type(arguments)(_sample(one, index, device) for one in arguments)
    return arguments


def _shape_on_meta(function: Callable[..., Any], arguments: Any, options: dict[str, Any]) -> torch.Tensor | None:
    """Run a function on the meta device, to know the size of its result; None where it reads numbers."""
    if isinstance(function, nn.Module):
        return None  # a layer's weights are larger than its result for a constant
    try:
        result = function(*arguments, **options)
    except (NotImplementedError, RuntimeError):
        return None
    return result if isinstance(result, torch.Tensor) else None


def _join(path: str, name: str) -> str:
    name = re.sub(r"\W", "_", name).strip("_")
    return f"{path}.{name}" if path else name
