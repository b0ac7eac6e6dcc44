"""Walk through an ONNX model's operators: each that is needed becomes calls of torch's modules and functions."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

import onnx
import torch

from models.conversion.errors import ConversionError, FileBroken, UnsupportedOperator
from models.conversion.graph_builder import GraphBuilder
from models.conversion.naming import MAX_STAGES, ResolutionStages
from models.conversion.onnx.model_file import CONTROL_FLOW, RECURRENT, get_opset, read_tensor
from models.conversion.onnx.operator import Operator
from models.conversion.onnx.operators import OPERATORS
from models.conversion.onnx.paths import find_paths
from models.conversion.shapes import permute
from models.conversion.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from models.conversion.onnx.image_input import ImageInput


@dataclass(frozen=True)
class Scope:
    """Operators of one graph by the names of what they compute, in an order in which each finds its inputs."""

    nodes: list[onnx.NodeProto]
    producers: dict[str, int]
    order: list[int]

    @classmethod
    def of(cls, nodes: Iterable[onnx.NodeProto]) -> Scope:
        """Sort operators; raises FileBroken if one needs its own output."""
        nodes = list(nodes)
        producers: dict[str, int] = {}
        for index, node in enumerate(nodes):
            for name in filter(None, node.output):
                if name in producers:
                    raise FileBroken(f"Two operators of the model compute '{name[:80]}'. Export it again.")
                producers[name] = index
        sorter: TopologicalSorter[int] = TopologicalSorter()
        for index, node in enumerate(nodes):
            sorter.add(index, *(producers[name] for name in list_inputs(node) if name in producers))
        try:
            return cls(nodes, producers, list(sorter.static_order()))
        except CycleError as error:
            raise FileBroken("Operators of the model need each other's outputs (a cycle). Export it again.") from error

    def find_needed(self, outputs: Iterable[str]) -> list[int]:
        """Find the operators that these values need, in order."""
        waiting = [self.producers[name] for name in outputs if name in self.producers]
        needed = set(waiting)
        while waiting:
            inputs = list_inputs(self.nodes[waiting.pop()])
            new = {self.producers[name] for name in inputs if name in self.producers} - needed
            needed |= new
            waiting += new
        return [index for index in self.order if index in needed]


def list_inputs(node: onnx.NodeProto) -> list[str]:
    """List the values that an operator reads, also inside its branches."""
    names = [name for name in node.input if name]
    waiting = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    while waiting:
        for inner in waiting.pop().node:
            names += [name for name in inner.input if name]
            waiting += [attribute.g for attribute in inner.attribute if attribute.HasField("g")]
    return names


class GraphWalk:
    """Walks through a model's operators."""

    def __init__(self, model: onnx.ModelProto, images: ImageInput, batch: int | None) -> None:
        self.model = model
        self.opset = get_opset(model)
        self.builder = GraphBuilder(images.input_size, batch)
        self.values: dict[str, Value] = {}
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.scope = Scope.of(model.graph.node)
        self._paths = find_paths(self.scope.nodes, self._initializers.keys())
        self._stages = ResolutionStages()
        self._done: set[int] = set()
        self.builder.reserve(self._paths or [f"stage.{number}.first" for number in range(MAX_STAGES)])
        start = self.builder.images
        self.values[images.name] = (
            permute(self.builder, start, (0, 2, 3, 1), "channels_last") if images.is_channels_last else start
        )

    def compute(self, name: str) -> Value:
        """Convert everything that a value needs, and get it."""
        for index in self.scope.find_needed([name]):
            if index not in self._done:
                self._convert(self.scope.nodes[index], self._paths[index] if self._paths else None)
                self._done.add(index)
        return self._read(name)

    def _read(self, name: str) -> Value:
        """Get a value that was computed, or an initializer."""
        if name in self.values:
            return self.values[name]
        if name in self._initializers:
            self.values[name] = Value.constant(read_tensor(self._initializers[name]))
            return self.values[name]
        if name in self.scope.producers:
            producer = self.scope.nodes[self.scope.producers[name]]
            if len(producer.output) > 1:
                raise UnsupportedOperator(
                    f"it reads the output '{name[:80]}' of {producer.op_type}, which is not given."
                )
        raise FileBroken(f"Nothing in the model computes '{name[:80]}'. Export it again.")

    def _convert(self, node: onnx.NodeProto, path: str | None) -> None:
        """Convert one operator; its errors name it."""
        where = f"{node.op_type[:80]} ('{(node.name or (node.output[0] if node.output else ''))[:80]}')"
        try:
            results = self._call(node, path)
        except ConversionError as error:
            raise type(error)(f"Operator {where}: {error}") from error
        except MemoryError:
            raise
        except Exception as error:  # torch's, of shapes and types that do not fit
            reason = " ".join(str(error).split())[:300]
            raise UnsupportedOperator(f"Operator {where} cannot be computed: {reason}. {ADVICE}") from error
        for name, value in zip(node.output, results, strict=False):
            self.values[name] = value

    def _call(self, node: onnx.NodeProto, path: str | None) -> list[Value]:
        if node.domain not in ("", "ai.onnx"):
            raise UnsupportedOperator(
                f"it is of the domain '{node.domain[:80]}', which is not ONNX's own. {ADVICE} A model that a runtime "
                "has optimized or quantized holds such operators: send the one from before."
            )
        if node.op_type == "Constant":
            return [_read_constant(node)]
        inputs = [self._read(name) if name else None for name in node.input]
        if node.op_type == "If":
            return self._choose_branch(node, inputs, path)
        converter = OPERATORS.get(node.op_type)
        if converter is None:
            raise UnsupportedOperator(_explain_missing(node.op_type))
        flowing = [value for value in inputs if value is not None and value.flows]
        if path is None:
            path = self._stages.name_stage(flowing[0].shape if flowing else ())
        attributes = {attribute.name: _read_attribute(attribute) for attribute in node.attribute}
        outputs = sum(map(bool, node.output))
        result = converter(self.builder, Operator(node.op_type, path, self.opset, inputs, attributes, outputs))
        return result if isinstance(result, list) else [result]

    def _choose_branch(self, node: onnx.NodeProto, inputs: list[Value | None], path: str | None) -> list[Value]:
        """Convert the branch that a constant condition chooses."""
        condition = inputs[0] if inputs else None
        if condition is None or not condition.is_constant or condition.tensor.numel() != 1:
            raise UnsupportedOperator(
                "it chooses between branches by the image or by the size of the batch. Export a network without such "
                "choices, with a fixed batch of 1."
            )
        name = "then_branch" if bool(condition.tensor.item()) else "else_branch"
        branch = next((attribute.g for attribute in node.attribute if attribute.name == name), None)
        if branch is None:
            raise FileBroken(f"It has no {name}.")
        self._initializers.update({tensor.name: tensor for tensor in branch.initializer})
        scope = Scope.of(branch.node)
        for index in scope.find_needed([output.name for output in branch.output]):
            self._convert(scope.nodes[index], path)
        return [self._read(output.name) for output in branch.output]


ADVICE = "Export the network again with torch.onnx.export(…, opset_version=18), or the like, in evaluation mode."


def _explain_missing(kind: str) -> str:
    """Explain why an operator has no counterpart, and what to do."""
    if kind in RECURRENT:
        return (
            "it is a recurrent layer. Graft takes image classifiers of convolutions and attention: export such a one."
        )
    if kind in CONTROL_FLOW:
        return "it is a loop. Export the network by tracing it with an image (torch.onnx.export), without loops."
    return f"Graft has no counterpart of it. {ADVICE} If it is part of what follows the logits, leave that out."


def _read_attribute(attribute: onnx.AttributeProto) -> Any:
    """Read an attribute; tensors become torch's."""
    if attribute.type == onnx.AttributeProto.TENSOR:
        return read_tensor(attribute.t)
    if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
        raise UnsupportedOperator(_explain_missing("Loop"))
    return onnx.helper.get_attribute_value(attribute)


def _read_constant(node: onnx.NodeProto) -> Value:
    """Read the value of a Constant."""
    attribute = next(iter(node.attribute), None)
    if attribute is None or attribute.name in ("sparse_value", "value_string", "value_strings"):
        raise UnsupportedOperator("it is no array of numbers.")
    value = _read_attribute(attribute)
    if isinstance(value, torch.Tensor):
        return Value.constant(value)
    is_float = attribute.name.startswith("value_float")
    return Value.constant(torch.tensor(value, dtype=torch.float32 if is_float else torch.int64))
