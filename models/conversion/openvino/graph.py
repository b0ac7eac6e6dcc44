"""Convert an OpenVINO model, read from a SavedModel or a TFLite file, into a graph of torch.

TensorFlow's images are (B, H, W, 3): the graph starts with a permutation, which cancels against the one that OpenVINO
puts before the first convolution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.conversion.errors import UnsupportedModel, UnsupportedOperator
from models.conversion.graph_builder import GraphBuilder
from models.conversion.maps import pool_maps
from models.conversion.openvino.elementwise import ELEMENTWISE
from models.conversion.openvino.input_range import only_user
from models.conversion.openvino.layers import LAYERS
from models.conversion.openvino.model_file import ModelFile, ModelInput, find_quantized_range, name_port
from models.conversion.openvino.names import name_paths
from models.conversion.openvino.operator import Operator
from models.conversion.openvino.shapes import SHAPES
from models.conversion.output import FinishedGraph, finish
from models.conversion.shapes import permute
from models.conversion.values import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

OPERATORS = {**ELEMENTWISE, **LAYERS, **SHAPES}
PASSING = ("Convert", "FakeQuantize")
"""Operators at the ends of a quantized network that change a value's type and range."""
TAIL = (*PASSING, "Reshape", "Squeeze", "Softmax", "Sigmoid")
"""Operators between the last layer and the output."""
CONTROL_FLOW = ("Loop", "If", "TensorIterator")


QUANTIZED = (
    "The weights are dequantized: the network computes in floating point. Ranges of quantized values are kept as "
    "limits, and rounding is left out, so that values differ slightly from the original's."
)


@dataclass(frozen=True)
class ConvertedModel:
    """An OpenVINO model as a graph of torch."""

    finished: FinishedGraph
    output: str
    """The name of the model's output that the network gives."""
    is_quantized: bool
    notes: list[str]


def convert(file: ModelFile) -> ConvertedModel:
    """Convert an OpenVINO model into a graph of torch. Raises ConversionError."""
    model, taken = file.model, file.input
    loops = {node.get_type_name() for node in model.get_ordered_ops()} & set(CONTROL_FLOW)
    if loops:
        raise UnsupportedOperator(
            f"The network has loops or conditions ({', '.join(sorted(loops))}). Export it without them."
        )
    walk = _Walk(model, taken)
    for node in model.get_ordered_ops():
        walk.visit(node)
    finished, output = walk.finish()
    return ConvertedModel(finished, output, walk.is_quantized, list(walk.builder.notes))


class _Walk:
    """Visits a model's operators in their order, and builds the graph."""

    def __init__(self, model: Any, taken: ModelInput) -> None:
        self.taken = taken
        self.builder = GraphBuilder(taken.input_size, taken.batch)
        self.values: dict[tuple[str, int], Value] = {}
        self.results: list[tuple[str, Value]] = []
        self.is_quantized = False
        operators = model.get_ordered_ops()
        self.paths = name_paths([node for node in operators if node.get_type_name() not in ("Constant", "Result")])
        self.builder.reserve(f"{path}.layer" for path in self.paths.values())
        self.skipped = _find_skipped(model)
        dequantizing = find_quantized_range(model.get_parameters()[0])
        self.dequantizing = None if dequantizing is None else dequantizing[0]
        self.dilations = _find_dilations(operators)
        self.outputs = {port.get_node().get_name(): name_port(port) for port in model.outputs}

    def visit(self, node: Any) -> None:
        """Compute one operator's values."""
        kind, name = node.get_type_name(), node.get_name()
        if kind == "Constant":
            self.is_quantized = self.is_quantized or _is_quantized_weight(node)
            self.values[name, 0] = _read_constant(node)
            return
        if kind == "Parameter":
            self.values[name, 0] = self._read_images()
            return
        ports = (node.input_value(index) for index in range(node.get_input_size()))
        inputs = [self.values[port.get_node().get_name(), port.get_index()] for port in ports]
        if kind == "Result":
            self.results.append((self.outputs[name], inputs[0]))
            return
        self.is_quantized = self.is_quantized or kind == "FakeQuantize"
        if name in self.skipped:
            self.values[name, 0] = self._limit_images(inputs[0]) if name == self.dequantizing else inputs[0]
            return
        computed = self._compute(node, inputs)
        for index, value in enumerate(computed if isinstance(computed, list) else [computed]):
            self.values[name, index] = value

    def _compute(self, node: Any, inputs: list[Value]) -> Value | list[Value]:
        kind, name = node.get_type_name(), node.get_name()
        function = OPERATORS.get(kind)
        if function is None:
            raise UnsupportedOperator(
                f"The operator {kind} (at {self.paths[name]}) is not supported. Export the network without it."
            )
        attributes = {**node.get_attributes(), **self.dilations.get(name, {})}
        operator = Operator(self.builder, kind, self.paths[name], inputs, attributes, node.get_output_size())
        try:
            return function(operator)
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            raise UnsupportedOperator(
                f"The operator {kind} (at {self.paths[name]}) cannot be computed: {error}. Export the network again, "
                "for images of one size and a batch of 1."
            ) from error

    def _read_images(self) -> Value:
        if not self.taken.is_channels_last:
            return self.builder.images
        return permute(self.builder, self.builder.images, (0, 2, 3, 1), "channels_last")

    def _limit_images(self, images: Value) -> Value:
        """Limit the images to the range that the integers of a quantized input stand for."""
        assert self.taken.quantized_range is not None
        return self.builder.call(torch.clamp, images, *self.taken.quantized_range, path="input_range")

    def finish(self) -> tuple[FinishedGraph, str]:
        """End the graph with its output: the last one that depends on the others, if there are several."""
        last = [
            (name, value)
            for name, value in self.results
            if value.flows and not any(_reads(other, value) for _, other in self.results)
        ]
        names = ", ".join(name for name, _ in self.results)
        if len(last) != 1:
            raise UnsupportedModel(
                f"The network has {len(self.results)} outputs ({names}), and none of them is computed from the others. "
                "Export it with one output, the logits or the features."
            )
        ((name, value),) = last
        if len(self.results) > 1:
            self.builder.note(f"Of the outputs {names}, {name} is taken, which is computed from the others.")
        if value.ndim == 4 and value.shape[1:].numel() > max(value.shape[1:]):
            value = pool_maps(self.builder, value, (1, 2) if self.taken.is_channels_last else (2, 3))
        return finish(self.builder, value), name


def _reads(value: Value, source: Value) -> bool:
    """Tell whether a value is computed from another one."""
    seen: set[Any] = set()
    waiting = [value.node]
    while waiting:
        node = waiting.pop()
        for parent in node.all_input_nodes if node is not None else ():
            if parent is source.node:
                return True
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return False


def _is_quantized_weight(node: Any) -> bool:
    """Tell whether a constant is a matrix or kernel of small integers."""
    kind = node.get_element_type().get_type_name()
    return kind in ("i4", "u4", "i8", "u8") and len(node.get_output_partial_shape(0)) > 1


def _read_constant(node: Any) -> Value:
    """Copy a constant; half precision becomes float32."""
    kind = node.get_element_type().get_type_name()
    if kind == "string":
        raise UnsupportedModel("The network holds texts. Export it with images as input and numbers as output.")
    if kind == "bf16":
        array = (node.get_data().view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    else:
        array = np.array(node.get_data())
    if array.dtype in (np.float16, np.float64):
        array = array.astype(np.float32)
    if array.dtype in (np.uint16, np.uint32, np.uint64):
        array = array.astype(np.int64)
    return Value.constant(torch.from_numpy(np.array(array)))


def _find_skipped(model: Any) -> set[str]:
    """Find operators that only quantize and dequantize the input and the output, by name."""
    skipped = set()
    for parameter in model.get_parameters():
        found = find_quantized_range(parameter)
        if found is not None:
            skipped.add(found[0])
    for result in model.get_results():
        node = result.input_value(0).get_node()
        while node.get_type_name() in TAIL:
            if node.get_type_name() in PASSING:
                skipped.add(node.get_name())
            node = node.input_value(0).get_node()
    return skipped | {name for pair in _find_dilated(model.get_ordered_ops()) for name in (pair[0], pair[2])}


def _find_dilated(operators: Sequence[Any]) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Find TensorFlow's dilated convolutions: images in batches of every nth pixel, convolved, and joined again.

    Gives the names of the three operators, and the attributes that make the convolution a dilated one.
    """
    found = []
    for node in operators:
        if node.get_type_name() != "SpaceToBatch":
            continue
        convolution = only_user(node)
        joining = None if convolution is None else only_user(convolution)
        if (
            joining is None
            or joining.get_type_name() != "BatchToSpace"
            or "Convolution" not in convolution.get_type_name()
        ):
            continue
        block, before, after = (node.input_value(index).get_node().get_data()[2:].tolist() for index in (1, 2, 3))
        crops = [joining.input_value(index).get_node().get_data()[2:].tolist() for index in (2, 3)]
        attributes = {
            "dilations": block,
            "auto_pad": "explicit",
            "pads_begin": [pad - crop for pad, crop in zip(before, crops[0], strict=True)],
            "pads_end": [pad - crop for pad, crop in zip(after, crops[1], strict=True)],
        }
        found.append((*(one.get_name() for one in (node, convolution, joining)), attributes))
    return found


def _find_dilations(operators: Sequence[Any]) -> dict[str, dict[str, Any]]:
    return {convolution: attributes for _, convolution, _, attributes in _find_dilated(operators)}
