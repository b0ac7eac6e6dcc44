"""Parse the configuration of a Keras network, as Keras 2 and 3 write it: its layers, and what each is called with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from models.conversion.errors import FileBroken, UnsupportedModel

if TYPE_CHECKING:
    from collections.abc import Callable

CONTAINERS = ("Functional", "Model", "Sequential")
MAX_DEPTH = 16
"""Deepest nesting of networks in networks, and of lists in arguments."""
CONSTANT = "_CONSTANT_VALUE"
"""Keras 2's name of an argument that is a number where a tensor could be."""


@dataclass(frozen=True)
class TensorReference:
    """An output of a layer's call."""

    layer: str
    call: int
    output: int


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer: its arguments hold TensorReference where tensors are."""

    arguments: tuple[Any, ...]
    options: dict[str, Any]


@dataclass(frozen=True)
class LayerConfig:
    """A layer."""

    kind: str
    """Name of its class."""
    name: str
    module: str
    """Where Keras says that the class is from; empty in Keras 2."""
    config: dict[str, Any]
    calls: tuple[LayerCall, ...] = ()
    inner: NetworkConfig | None = None


@dataclass(frozen=True)
class NetworkConfig:
    """A network of layers."""

    name: str
    layers: tuple[LayerConfig, ...]
    inputs: tuple[TensorReference, ...]
    outputs: tuple[TensorReference, ...]
    chain: bool = field(default=False)
    """A Sequential: each layer takes the one before it."""


def parse_network(config: Any) -> NetworkConfig:
    """Parse a network's configuration. Raises FileBroken, UnsupportedModel."""
    try:
        return _parse_network(config, 0)
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        raise FileBroken(
            f"The configuration of this Keras network is not in a form that Keras 2 or 3 writes ({error!r}). Save it "
            "again, with model.save('model.keras')."
        ) from error


def _parse_network(node: dict[str, Any], depth: int) -> NetworkConfig:
    kind, config = node["class_name"], node["config"]
    if kind not in CONTAINERS or depth > MAX_DEPTH:
        raise UnsupportedModel(
            f"This Keras network is of the class {str(kind)[:100]!r}, whose operations are code, not configuration. "
            "Build it as a functional network, or export it with model.export(folder), and send that SavedModel."
        )
    listed = config if isinstance(config, list) else config["layers"]
    layers = tuple(_parse_layer(layer, depth) for layer in listed)
    name = config["name"] if isinstance(config, dict) else "sequential"
    if kind == "Sequential":
        return NetworkConfig(name, layers, (), (), chain=True)
    return NetworkConfig(name, layers, _parse_ends(config["input_layers"]), _parse_ends(config["output_layers"]))


def _parse_ends(ends: Any) -> tuple[TensorReference, ...]:
    """Parse the inputs or outputs of a network: one reference, or a list or dictionary of them."""
    if isinstance(ends, dict):
        ends = list(ends.values())
    if ends and isinstance(ends[0], str):
        ends = [ends]
    return tuple(TensorReference(layer, int(call), int(output)) for layer, call, output in ends)


def _parse_layer(node: dict[str, Any], depth: int) -> LayerConfig:
    config = node["config"]
    inner = _parse_network(node, depth + 1) if node["class_name"] in CONTAINERS else None
    options = config if isinstance(config, dict) else {}
    name = node.get("name") or options.get("name") or node["class_name"]
    nodes = node.get("inbound_nodes") or []
    calls = tuple(call for one in nodes for call in _parse_calls(one))
    return LayerConfig(str(node["class_name"]), str(name), str(node.get("module") or ""), options, calls, inner)


def _parse_calls(node: Any) -> list[LayerCall]:
    """Parse one entry of a layer's inbound nodes, of Keras 3 or 2."""
    if isinstance(node, dict) and "args" in node:
        return [LayerCall(tuple(_parse_argument(one, 0) for one in node["args"]), _parse_options(node["kwargs"]))]
    if isinstance(node, dict):
        raise UnsupportedModel("A layer of this Keras network takes a dictionary. Build it with lists of tensors.")
    if node and isinstance(node[0], str):  # a function of Keras 2, with tensors among its options too
        return [LayerCall((_parse_reference(node),), _parse_options(node[3] if len(node) > 3 else {}))]
    tensors = [_parse_reference(one) for one in node]
    options = _parse_options(node[0][3] if node and len(node[0]) > 3 else {})
    return [LayerCall((tensors[0] if len(tensors) == 1 else tensors,), options)]


def _parse_reference(node: list[Any]) -> Any:
    if node[0] == CONSTANT:
        return node[2]
    return TensorReference(str(node[0]), int(node[1]), int(node[2]))


def _parse_options(options: dict[str, Any]) -> dict[str, Any]:
    return {name: _parse_option(value) for name, value in options.items()}


def _parse_option(value: Any) -> Any:
    """Parse an option, which in Keras 2 is a tensor if it is a list of a name and two numbers."""
    is_tensor = (
        isinstance(value, list)
        and len(value) == 3
        and isinstance(value[0], str)
        and all(type(n) is int for n in value[1:])
    )
    return _parse_reference(value) if is_tensor else _parse_argument(value, 0)


def _parse_argument(node: Any, depth: int) -> Any:
    """Parse an argument of Keras 3."""
    if depth > MAX_DEPTH:
        raise ValueError("arguments are nested too deep")
    if isinstance(node, list):
        return [_parse_argument(one, depth + 1) for one in node]
    if not isinstance(node, dict):
        return node
    reader = OBJECTS.get(str(node.get("class_name")))
    return node if reader is None or node.get("config") is None else reader(node["config"], depth + 1)


def _parse_tensor(config: Any, depth: int) -> TensorReference:
    layer, call, output = config["keras_history"]
    return TensorReference(str(layer), int(call), int(output))


def _parse_tuple(config: Any, depth: int) -> tuple[Any, ...]:
    return tuple(_parse_argument(one, depth) for one in (config if isinstance(config, list) else config["items"]))


def _parse_slice(config: Any, depth: int) -> slice:
    return slice(*(config if isinstance(config, list) else [config[key] for key in ("start", "stop", "step")]))


def _parse_array(config: Any, depth: int) -> Any:
    return config["value"]


OBJECTS: dict[str, Callable[[Any, int], Any]] = {
    "__keras_tensor__": _parse_tensor,
    "__numpy__": _parse_array,
    "__slice__": _parse_slice,
    "__tensor__": _parse_array,
    "__tuple__": _parse_tuple,
    "slice": _parse_slice,
}
"""Objects in the arguments of Keras 3's calls, by the names that Keras gives them."""
