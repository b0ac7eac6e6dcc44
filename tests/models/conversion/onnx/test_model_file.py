"""Files that are no models, or not taken, and what a model says of itself."""

from __future__ import annotations

import json
import os
import random
import sys
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from models.conversion.errors import ConversionError, ExtraMissing, FileBroken, UnsupportedModel
from models.conversion.onnx.importer import convert
from models.conversion.onnx.model_file import read_labels, read_licence
from tests.support.onnx_models import build_model, compare, convert_model, node, numbers

if TYPE_CHECKING:
    from pathlib import Path

NODES = [node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "f"), node("Gemm", "f w b")]
WEIGHTS = {"w": numbers(3, 5), "b": numbers(5)}


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04" + bytes(100), b"\x89HDF\r\n", os.urandom(4096), b"{}"], ids=range(5)
)
def test_files_of_other_kinds_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(FileBroken, match="no ONNX model"):
        convert(path)


def test_damaged_files_never_crash(tmp_path: Path) -> None:
    """Cut short at any place, or with bytes that are changed: an error of ours, or a network."""
    whole = build_model(NODES, WEIGHTS).SerializeToString()
    path = tmp_path / "model.onnx"
    chance = random.Random(0)
    for _ in range(100):
        damaged = bytearray(whole)
        if chance.random() < 0.3:
            del damaged[chance.randrange(len(whole)) :]
        else:
            for _ in range(chance.randint(1, 4)):
                damaged[chance.randrange(len(whole))] = chance.randrange(256)
        path.write_bytes(damaged)
        with suppress(ConversionError):
            convert(path)


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "weights.bin"])
def test_external_data_is_refused_and_not_read(location: str, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(WEIGHTS["w"].tobytes())
    model = build_model(NODES, WEIGHTS)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    with pytest.raises(UnsupportedModel, match=r"'w' and others: external data.*onnx.save"):
        convert_model(model, tmp_path)
    model.graph.ClearField("initializer")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))
    with pytest.raises(UnsupportedModel, match="external data"):
        convert_model(model, tmp_path)


@pytest.mark.parametrize("opset", [1, 6, 99])
def test_versions_of_operators_that_are_not_read(opset: int, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=f"version {opset} of ONNX's operators.*opset_version=18"):
        convert_model(build_model(NODES, WEIGHTS, opset=opset), tmp_path)


def call_function(*bodies: tuple[str, list[onnx.NodeProto]]) -> onnx.ModelProto:
    """Make a model that calls the first of functions, which have one input and one output."""
    model = build_model(
        [helper.make_node("first", ["x"], ["g"], domain="own"), node("GlobalAveragePool", "g", "p"), *NODES[1:]],
        WEIGHTS,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model.opset_import.append(opsets[1])
    model.functions.extend(helper.make_function("own", name, ["a"], ["z"], nodes, opsets) for name, nodes in bodies)
    return model


def call(name: str, source: str, target: str) -> onnx.NodeProto:
    return helper.make_node(name, [source], [target], domain="own")


def test_functions_are_put_in_place_of_their_calls(tmp_path: Path) -> None:
    body = [node("Neg", "a", "n"), call("second", "n", "m"), node("Add", "a m", "z")]
    compare(convert_model(call_function(("first", body), ("second", [node("Exp", "a", "z")])), tmp_path))


def test_functions_that_call_themselves_are_refused(tmp_path: Path) -> None:
    model = call_function(("first", [call("second", "a", "z")]), ("second", [call("first", "a", "z")]))
    with pytest.raises(FileBroken, match="calls itself"):
        convert_model(model, tmp_path)


def test_functions_that_multiply_are_refused(tmp_path: Path) -> None:
    """Each calls the next twice: 2^60 operators."""
    names = ["first", *(f"f{number}" for number in range(60))]
    bodies = [(one, [call(two, "a", "b"), call(two, "b", "z")]) for one, two in pairwise(names)]
    with pytest.raises(UnsupportedModel, match="more than 50,000 operators"):
        convert_model(call_function(*bodies, (names[-1], [node("Neg", "a", "z")])), tmp_path)


def test_many_operators_are_refused(tmp_path: Path) -> None:
    nodes = [node("Neg", "x" if number == 0 else f"n{number}", f"n{number + 1}") for number in range(50_001)]
    with pytest.raises(UnsupportedModel, match="more than 50,000 operators"):
        convert_model(build_model(nodes, outputs=["n50001"]), tmp_path)


@pytest.mark.parametrize("dims", [[10**12], [-1, 5], [3, 6], [2**31, 2**31]], ids=str)
def test_tensors_whose_numbers_do_not_fit_are_refused(dims: list[int], tmp_path: Path) -> None:
    model = build_model(NODES, WEIGHTS)
    model.graph.initializer[0].ClearField("dims")
    model.graph.initializer[0].dims.extend(dims)
    with pytest.raises(FileBroken, match="tensor 'w'"):
        convert_model(model, tmp_path)


def test_texts_are_no_weights(tmp_path: Path) -> None:
    model = build_model(NODES, WEIGHTS)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array(["text"], dtype=object), "w"))
    with pytest.raises(ConversionError, match="'w'"):
        convert_model(model, tmp_path)


def test_tensors_of_other_types(tmp_path: Path) -> None:
    """Unsigned integers of 16 and more bits become int64."""
    model = build_model(
        [node("Cast", "c", "f", to=1), node("Mul", "x f", "m"), node("Flatten", "m")], {"c": np.uint16([7])}
    )
    compare(convert_model(model, tmp_path))


NAMES = ["cat", "dog", "owl"]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(NAMES),
        str(NAMES),
        json.dumps(dict(enumerate(NAMES))),
        str(dict(enumerate(NAMES))),
        "cat\ndog\nowl",
        "cat, dog,owl",
    ],
)
@pytest.mark.parametrize("key", ["labels", "names", "classes", "class_names", "id2label"])
def test_labels(key: str, text: str) -> None:
    assert read_labels({key: text}) == NAMES


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "{'a': 'b'}", "{0: 'cat', 2: 'dog'}", "[" * 100_000, "__import__('os')"]
)
def test_what_is_no_list_of_labels(text: str) -> None:
    assert read_labels({"names": text}) is None


def test_metadata_is_read(tmp_path: Path) -> None:
    model = build_model(NODES, WEIGHTS, names=str({0: "a", 1: "b", 2: "c", 3: "d", 4: "e"}), license="Apache-2.0")
    converted = convert_model(model, tmp_path)
    assert converted.labels == ["a", "b", "c", "d", "e"]
    assert converted.licence == "Apache-2.0"
    assert read_licence({}) is None


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("models.conversion.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExtraMissing, match=r"lacks onnx.*pip install 'graft\[import\]'"):
        import models.conversion.onnx  # noqa: F401


def test_constants_of_each_kind(tmp_path: Path) -> None:
    for name, value in {
        "value_float": 2.0,
        "value_floats": [2.0],
        "value": numpy_helper.from_array(np.float32([2])),
    }.items():
        nodes = [node("Constant", "", "c", **{name: value}), node("Mul", "x c", "m"), node("Flatten", "m")]
        compare(convert_model(build_model(nodes), tmp_path))
    nodes = [node("Constant", "", "c", value_ints=[-1, 192]), node("Reshape", "x c")]
    compare(convert_model(build_model(nodes), tmp_path))
