"""Small ONNX models made by hand, and their converted networks beside onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from models.conversion.onnx.importer import convert

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from models.conversion.converted import ConvertedNetwork

OPSETS = range(9, 24)


def node(kind: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    """Make an operator; names of inputs and outputs are separated by spaces, and `-` leaves one out."""
    names = [["" if name == "-" else name for name in text.split()] for text in (inputs, outputs)]
    return helper.make_node(kind, *names, **attributes)


def list_versions(kind: str, since: int = 9) -> list[int]:
    """List the versions of ONNX's operators in which an operator was changed, the first and the last."""
    history = onnx.defs.get_all_schemas_with_history()
    changed = {schema.since_version for schema in history if schema.name == kind and not schema.domain}
    first = max(since, min(changed))
    return sorted({first, OPSETS[-1], *(version for version in changed if first <= version <= OPSETS[-1])})


def over_versions(*kinds: str, since: int = 9) -> list[Any]:
    """List operators with their versions; those between the first and the last are of the extended tests."""
    found = []
    for kind in kinds:
        first, *middle, last = list_versions(kind, since)
        found += [pytest.param(kind, version) for version in (first, last)]
        found += [pytest.param(kind, version, marks=pytest.mark.extended) for version in middle]
    return found


def numbers(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """Draw random float32 numbers."""
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def integers(*values: int) -> np.ndarray:
    """Make a vector of int64."""
    return np.array(values, np.int64)


def build_model(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Any] = {},
    *,
    opset: int = 17,
    images: Sequence[int | str | None] = ("N", 3, 8, 8),
    outputs: Sequence[str] = ("y",),
    dtype: int = TensorProto.FLOAT,
    **entries: str,
) -> onnx.ModelProto:
    """Build a model that reads "x", with constants by name, and metadata."""
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", dtype, images)],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    for info in graph.output:
        info.type.tensor_type.elem_type = TensorProto.FLOAT
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10 if opset > 20 else 8)
    helper.set_model_props(model, entries)
    return model


def convert_model(model: onnx.ModelProto, folder: Path) -> ConvertedNetwork:
    """Write a model to a file and convert it."""
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return convert(path)


def check_nodes(
    folder: Path,
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Any] = {},
    *,
    opset: int = 17,
    images: Sequence[int | str | None] = ("N", 3, 8, 8),
    is_static_too: bool = False,
    **options: Any,
) -> ConvertedNetwork:
    """Convert operators from "x" to "y", flattened, and compare with onnxruntime for batches of 1 and 3 images.

    With `is_static_too`, also for a file that is written for one image.
    """
    whole = [*nodes, helper.make_node("Flatten", ["y"], ["vector"])]
    for batch in [images[0], *([1] if is_static_too and images[0] != 1 else [])]:
        model = build_model(whole, constants, opset=opset, images=(batch, *images[1:]), outputs=["vector"], **options)
        converted = convert_model(model, folder)
        compare(converted)
    return converted


def compare(converted: ConvertedNetwork, tolerance: float = 1e-5, has_whole_pixels: bool = False) -> None:
    """Compare a network with its original, for batches of 1 and 3 images; outputs are to differ from image to image."""
    images = torch.from_numpy(numbers(3, *converted.input_size, seed=1, low=-2.0, high=2.0))
    if has_whole_pixels:
        images = (images * 60 + 120).round()
    with torch.no_grad():
        together = converted.network(images).numpy()
        alone = np.concatenate([converted.network(image[None]).numpy() for image in images])
    expected = converted.original.run(images.numpy())
    assert expected.shape == together.shape == alone.shape
    scale = max(1.0, float(np.abs(expected).max()))
    for actual in (together, alone):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * scale)
    assert np.abs(expected[0] - expected[1]).max() > 100 * tolerance * scale, "the outputs differ by image"
