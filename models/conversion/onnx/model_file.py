"""Reading of ONNX files: what is no model, or one that is not taken, is refused by name before anything is computed."""

from __future__ import annotations

import ast
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from onnx import inliner, numpy_helper

from models.conversion.errors import FileBroken, UnsupportedModel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPSETS = range(7, 27)
"""Versions of ONNX's operators that are read."""
MAX_OPERATORS = 50_000
"""Most operators of a model, with those in its functions and branches."""
MAX_METADATA = 1 << 20
"""Longest text of metadata that is read as labels."""
CONTROL_FLOW = {"Loop", "Scan"}
RECURRENT = {"GRU", "LSTM", "RNN"}


def read_model(path: Path) -> onnx.ModelProto:
    """Read a model; raises FileBroken or UnsupportedModel."""
    try:
        model = onnx.ModelProto()
        model.ParseFromString(path.read_bytes())
    except Exception as error:  # protobuf's classes of errors differ from version to version
        raise FileBroken(f"The file is no ONNX model: {error}. Export it again.") from error
    if not model.graph.node or not model.graph.output:
        raise FileBroken("The file holds no ONNX model with operators and an output. Export it again.")
    get_opset(model)
    _check_names(model)
    _check_external_data(model)
    if model.functions:
        model = _inline_functions(model)
    if sum(1 for _ in iterate_operators(model.graph)) > MAX_OPERATORS:
        raise UnsupportedModel(f"The model has more than {MAX_OPERATORS:,} operators. Export a smaller network.")
    return model


def get_opset(model: onnx.ModelProto) -> int:
    """Get the version of ONNX's own operators; raises UnsupportedModel if it is not read."""
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    version = max(versions, default=1)
    if version not in OPSETS:
        raise UnsupportedModel(
            f"The model uses version {version} of ONNX's operators (opset); Graft reads 9 to 23. Export it again with "
            "opset_version=18."
        )
    return int(version)


def iterate_operators(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Iterate over the operators of a graph and of the graphs in its branches."""
    waiting = [graph]
    while waiting:
        for node in waiting.pop().node:
            yield node
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else []
                waiting += attribute.graphs


def _check_names(model: onnx.ModelProto) -> None:
    """Refuse names that are no text: protobuf gives them as bytes."""
    nodes = [*iterate_operators(model.graph), *(node for function in model.functions for node in function.node)]
    names: list[object] = [entry.key for entry in model.metadata_props]
    names += [entry.value for entry in model.metadata_props]
    for entries in (model.graph.input, model.graph.output, model.graph.initializer, model.functions):
        names += [entry.name for entry in entries]
    for node in nodes:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [attribute.name for attribute in node.attribute]
        names += [text for entry in node.metadata_props for text in (entry.key, entry.value)]
    if not all(isinstance(name, str) for name in names):
        raise FileBroken("Names in the model are no text (UTF-8). Export it again.")


def _check_external_data(model: onnx.ModelProto) -> None:
    """Refuse weights that lie in other files; nothing of them is read."""
    tensors = [*model.graph.initializer]
    for node in iterate_operators(model.graph):
        for attribute in node.attribute:
            tensors += [attribute.t] if attribute.HasField("t") else []
            tensors += attribute.g.initializer
    outside = [tensor.name for tensor in tensors if tensor.data_location == onnx.TensorProto.EXTERNAL]
    outside += [tensor.name for tensor in tensors if len(tensor.external_data)]
    if outside:
        raise UnsupportedModel(
            f"Weights of the model lie in another file ('{outside[0][:80]}' and others: external data). Save it as one "
            "file: onnx.save(onnx.load('model.onnx'), 'whole.onnx'), or torch.onnx.export(…, external_data=False)."
        )


def _inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put the operators of functions, which some exporters write, in place of their calls."""
    bodies = {(function.domain, function.name): function for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def count(nodes: Any, open_calls: tuple[tuple[str, str], ...]) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in open_calls:
                raise FileBroken(f"The model's function {node.op_type[:80]} calls itself.")
            if key in bodies and key not in sizes:
                sizes[key] = count(bodies[key].node, (*open_calls, key))
            total += sizes.get(key, 1)
        return total

    if len(open_names := bodies) > 500 or count(model.graph.node, ()) > MAX_OPERATORS:
        raise UnsupportedModel(f"The model has more than {MAX_OPERATORS:,} operators in {len(open_names)} functions.")
    inlined: onnx.ModelProto = inliner.inline_local_functions(model)
    return inlined


def read_tensor(tensor: onnx.TensorProto) -> torch.Tensor:
    """Read a tensor; 16-bit floats become float32, unsigned integers int64."""
    if any(length < 0 for length in tensor.dims):
        raise FileBroken(f"The tensor '{tensor.name[:80]}' has a negative length.")
    try:
        array = np.array(numpy_helper.to_array(tensor))
    except Exception as error:  # numpy's and protobuf's, of lengths that do not fit or types that do not exist
        raise FileBroken(f"The tensor '{tensor.name[:80]}' is damaged: {error}. Export the model again.") from error
    if array.size != math.prod(tensor.dims):
        raise FileBroken(f"The tensor '{tensor.name[:80]}' has {array.size} numbers for {list(tensor.dims)}.")
    return convert_array(array, tensor.name)


def convert_array(array: np.ndarray, name: str) -> torch.Tensor:
    """Convert an array of numbers."""
    kind = array.dtype
    if kind.kind not in "fiub" and kind.name != "bfloat16":
        raise UnsupportedModel(f"The tensor '{name[:80]}' is of type {kind.name}. Export the model in float32.")
    if kind.name in ("float16", "bfloat16"):
        array = array.astype(np.float32)
    if kind.name in ("uint16", "uint32", "uint64"):
        array = array.astype(np.int64)
    if not array.dtype.isnative:
        array = array.astype(kind.newbyteorder("="))
    return torch.from_numpy(array)


def has_half_weights(model: onnx.ModelProto) -> bool:
    """Tell whether weights are 16-bit floats."""
    halves = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    return any(tensor.data_type in halves for tensor in model.graph.initializer)


def read_metadata(model: onnx.ModelProto) -> dict[str, str]:
    """Read the metadata that exporters write."""
    return {entry.key: entry.value for entry in model.metadata_props if len(entry.value) <= MAX_METADATA}


def read_labels(metadata: dict[str, str]) -> list[str] | None:
    """Read the names of the classes, a list or a mapping of numbers to names, in JSON or as Python writes them."""
    keys = ("labels", "class_names", "classes", "names", "id2label", "categories")
    for text in (metadata[key] for key in keys if key in metadata):
        names = _parse(text)
        if isinstance(names, dict):
            numbers = {str(key): value for key, value in names.items()}
            if set(numbers) == {str(number) for number in range(len(numbers))}:
                names = [numbers[str(number)] for number in range(len(numbers))]
        if isinstance(names, list) and len(names) > 1 and all(isinstance(name, str) for name in names):
            return names
    return None


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        lines = [line.strip() for line in text.replace(",", "\n").splitlines()]
        return [line for line in lines if line]


def read_licence(metadata: dict[str, str]) -> str | None:
    """Read the licence."""
    return next((metadata[key] for key in ("license", "licence") if metadata.get(key)), None)
