"""Walk through a Keras network's layers, and build the graph of torch that computes the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models.conversion.errors import FileBroken, UnsupportedModel, UnsupportedOperator
from models.conversion.keras.activations import ACTIVATIONS
from models.conversion.keras.config import LayerCall, LayerConfig, NetworkConfig, TensorReference
from models.conversion.keras.layer_call import Call
from models.conversion.keras.layers import LAYERS
from models.conversion.keras.operations import FUNCTIONS_OF_KERAS_2, OPERATIONS
from models.conversion.keras.weights import LayerAddress
from models.conversion.naming import clean_path, group_block_names

if TYPE_CHECKING:
    from models.conversion.graph_builder import GraphBuilder
    from models.conversion.keras.weights import LayerWeights
    from models.conversion.values import Value

HANDLERS = {**OPERATIONS, **ACTIVATIONS, **LAYERS}
OWN_MODULES = ("keras.", "tf_keras.", "tensorflow.", "builtins")
"""Where the classes of Keras itself are from."""
FUNCTION_LAYERS = ("TFOpLambda", "SlicingOpLambda")
SEND_SAVED_MODEL = (
    "Export the network with model.export(folder), or tf.saved_model.save(model, folder) in Keras 2, and send the "
    "SavedModel in a zip."
)


def find_input_shape(network: NetworkConfig) -> list[int | None]:
    """Find the shape (B, H, W, C) of the one input. Raises UnsupportedModel."""
    if not network.chain and len(network.inputs) != 1:
        names = ", ".join(reference.layer for reference in network.inputs)
        raise UnsupportedModel(
            f"The network has {len(network.inputs)} inputs ({names}). Save it with one input, the images."
        )
    wanted = network.inputs[0].layer if network.inputs else network.layers[0].name if network.layers else ""
    layer = next((one for one in network.layers if one.name == wanted), None)
    if layer is None:
        raise UnsupportedModel("The network has no layers.")
    if layer.inner is not None:
        return find_input_shape(layer.inner)
    shape = layer.config.get("batch_shape", layer.config.get("batch_input_shape"))
    if isinstance(shape, list) and len(shape) == 1 and isinstance(shape[0], list):
        (shape,) = shape
    if not isinstance(shape, list) or len(shape) != 4 or shape[3] not in (3, None):
        raise UnsupportedModel(
            f"The network's input has shape {shape}. Graft takes networks of RGB images, (None, height, width, 3): "
            "save one with such an input."
        )
    return shape


@dataclass
class KerasWalk:
    """Builds the graph of a network and of the networks in it."""

    builder: GraphBuilder
    weights: LayerWeights
    is_keras_2: bool

    def run(self, network: NetworkConfig, inputs: list[Value], top: str = "", around: str = "") -> list[Value]:
        """Compute a network's outputs.

        Args:
            network: the network.
            inputs: what it takes.
            top: the outermost layer that holds it; empty for the whole network.
            around: its path in Keras 3's files.
        """
        addresses = _number_layers(network, top, around)
        if network.chain:
            for layer in network.layers:
                if layer.kind != "InputLayer":
                    inputs = self._apply(layer, LayerCall((inputs[0],), {}), addresses[layer.name])
            return inputs
        values: dict[tuple[str, int, int], Value] = {}
        for reference, value in zip(network.inputs, inputs, strict=True):
            values[reference.layer, 0, 0] = value
        self._run_layers(network, addresses, values)
        return [self._get(values, reference) for reference in network.outputs]

    def _run_layers(
        self, network: NetworkConfig, addresses: dict[str, LayerAddress], values: dict[tuple[str, int, int], Value]
    ) -> None:
        """Apply layers as soon as what they take is there."""
        waiting = [
            (layer, index, call)
            for layer in network.layers
            if layer.kind != "InputLayer"
            for index, call in enumerate(layer.calls)
        ]
        while waiting:
            rest = []
            for layer, index, call in waiting:
                references = _find_references((call.arguments, call.options))
                if not all(self._is_known(network, values, reference) for reference in references):
                    rest.append((layer, index, call))
                    continue
                arguments = _resolve(call.arguments, lambda reference: self._get(values, reference))
                options = _resolve(call.options, lambda reference: self._get(values, reference))
                for output, value in enumerate(
                    self._apply(layer, LayerCall(arguments, options), addresses[layer.name])
                ):
                    values[layer.name, index, output] = value
            if len(rest) == len(waiting):
                raise FileBroken(f"The layer {rest[0][0].name!r} takes what no layer gives. Save the network again.")
            waiting = rest

    def _is_known(
        self, network: NetworkConfig, values: dict[tuple[str, int, int], Value], reference: TensorReference
    ) -> bool:
        return any(key[0] == reference.layer for key in values) and (
            (reference.layer, reference.call, reference.output) in values
            or sum(len(layer.calls) for layer in network.layers if layer.name == reference.layer) <= 1
        )

    def _get(self, values: dict[tuple[str, int, int], Value], reference: TensorReference) -> Value:
        """Get an output of a layer; a network that is called once may count calls of its own making."""
        key = (reference.layer, reference.call, reference.output)
        return values[key] if key in values else values[reference.layer, 0, reference.output]

    def _apply(self, layer: LayerConfig, call: LayerCall, address: LayerAddress) -> list[Value]:
        """Apply a layer, or the network that it is."""
        if layer.inner is not None:
            given = call.arguments[0]
            inputs = list(given) if isinstance(given, list | tuple) else [given]
            return self.run(layer.inner, inputs, address.top, address.numbered)
        kind = self._check_kind(layer)
        path = group_block_names(clean_path([layer.name]))
        config, arguments, options = layer.config, call.arguments, call.options
        one = Call(self.builder, kind, path, config, arguments, options, address, self.weights, self.is_keras_2)
        try:
            return [HANDLERS[kind](one)]
        except (RuntimeError, ValueError, IndexError, TypeError, KeyError, AttributeError) as error:
            raise UnsupportedOperator(
                f"The layer {layer.name!r} ({kind}) cannot be computed: {error}. {SEND_SAVED_MODEL}"
            ) from error

    def _check_kind(self, layer: LayerConfig) -> str:
        """Find which of the known layers this is. Raises UnsupportedOperator."""
        kind = layer.kind
        if kind in FUNCTION_LAYERS:
            function = str(layer.config.get("function"))
            if function not in FUNCTIONS_OF_KERAS_2:
                raise UnsupportedOperator(
                    f"The layer {layer.name!r} is the function tf.{function[:100]}, which is not supported. "
                    + SEND_SAVED_MODEL
                )
            return FUNCTIONS_OF_KERAS_2[function]
        if kind == "Lambda":
            raise UnsupportedOperator(
                f"The layer {layer.name!r} is a Lambda: code, which Graft never runs. {SEND_SAVED_MODEL}"
            )
        is_own = not layer.module or layer.module.startswith(OWN_MODULES)
        if not is_own or kind not in HANDLERS:
            what = "a layer of Keras that is not supported" if is_own and "." in layer.module else "a custom layer"
            raise UnsupportedOperator(
                f"The layer {layer.name!r} is of the class {kind[:100]!r}, {what}. {SEND_SAVED_MODEL}"
            )
        if kind in ("Reshape", "Softmax") and ".ops." in layer.module:
            return f"{kind}Function"
        return kind


def _number_layers(network: NetworkConfig, top: str, around: str) -> dict[str, LayerAddress]:
    """Find each layer's place: Keras 3 numbers those of one class in their order."""
    counts: dict[str, int] = {}
    addresses = {}
    for layer in network.layers:
        name = _to_snake_case(layer.kind)
        number = counts.get(name, 0)
        counts[name] = number + 1
        numbered = f"{name}_{number}" if number else name
        addresses[layer.name] = LayerAddress(layer.name, top or layer.name, f"{around}/layers/{numbered}".strip("/"))
    return addresses


def _to_snake_case(name: str) -> str:
    """Name a class as Keras 3 does in its files: re_lu of ReLU."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _find_references(argument: Any) -> list[TensorReference]:
    if isinstance(argument, TensorReference):
        return [argument]
    if isinstance(argument, dict):
        return [found for one in argument.values() for found in _find_references(one)]
    if isinstance(argument, list | tuple):
        return [found for one in argument for found in _find_references(one)]
    return []


def _resolve(argument: Any, get: Any) -> Any:
    """Replace references by values."""
    if isinstance(argument, TensorReference):
        return get(argument)
    if isinstance(argument, dict):
        return {name: _resolve(one, get) for name, one in argument.items()}
    if isinstance(argument, list | tuple):
        return type(argument)(_resolve(one, get) for one in argument)
    return argument
