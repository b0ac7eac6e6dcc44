"""Operators and outputs of models, and the errors of those that are not taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from models.conversion.errors import FileBroken, UnsupportedModel, UnsupportedOperator
from tests.support.onnx_models import build_model, check_nodes, compare, convert_model, integers, node, numbers

if TYPE_CHECKING:
    from pathlib import Path

    from models.conversion.converted import ConvertedNetwork

VECTOR = [node("GlobalAveragePool", "x", "p"), node("Flatten", "p", "f"), node("Gemm", "f w b", "logits")]
WEIGHTS = {"w": numbers(3, 5), "b": numbers(5, seed=2)}


def convert_ending(folder: Path, *nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("y",), **options: Any) -> Any:
    constants = {**WEIGHTS, **options.pop("constants", {})}
    return convert_model(build_model([*VECTOR, *nodes], constants, outputs=outputs, **options), folder)


def compute_logits(converted: ConvertedNetwork) -> tuple[torch.Tensor, np.ndarray]:
    """Compute a converted network's logits, and what its original gives."""
    images = numbers(3, *converted.input_size, seed=3, low=-5, high=5)
    with torch.no_grad():
        return converted.network(torch.from_numpy(images)), converted.original.run(images)


@pytest.mark.parametrize("after", ["Identity", "Reshape", "Flatten", "Squeeze"])
@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_probabilities_become_logits(kind: str, after: str, tmp_path: Path) -> None:
    end = {
        "Identity": [node(kind, "logits", "s"), node("Identity", "s")],
        "Reshape": [node(kind, "logits", "s"), node("Reshape", "s shape")],
        "Flatten": [node(kind, "logits", "s"), node("Flatten", "s")],
        "Squeeze": [
            node("Unsqueeze", "logits last", "u"),
            node(kind, "u", "s", **({"axis": 1} if kind != "Sigmoid" else {})),
            node("Squeeze", "s last"),
        ],
    }[after]
    converted = convert_ending(tmp_path, *end, constants={"shape": integers(-1, 5), "last": integers(2)})
    logits, expected = compute_logits(converted)
    function = {"Softmax": torch.nn.Softmax(1), "LogSoftmax": torch.nn.LogSoftmax(1), "Sigmoid": torch.nn.Sigmoid()}[
        kind
    ]
    np.testing.assert_allclose(function(logits).numpy(), expected, atol=1e-6)
    assert converted.has_softmax
    assert any(kind.lower() in note for note in converted.notes)
    assert logits.min() < 0


def test_a_softmax_in_parts_is_recognized(tmp_path: Path) -> None:
    """TensorFlow's exporters may write exponentials over their sum."""
    nodes = [
        node("ReduceMax", "logits", "m", axes=[1], keepdims=1),
        node("Sub", "logits m", "d"),
        node("Exp", "d", "e"),
        node("ReduceSum", "e axes", "t", keepdims=1),
        node("Div", "e t"),
    ]
    converted = convert_ending(tmp_path, *nodes, constants={"axes": integers(1)})
    logits, expected = compute_logits(converted)
    np.testing.assert_allclose(logits.softmax(1).numpy(), expected, atol=1e-6)
    assert converted.has_softmax


def test_a_softmax_before_a_quantization_is_left_out(tmp_path: Path) -> None:
    nodes = [node("Softmax", "logits", "s"), node("QuantizeLinear", "s q z", "i"), node("DequantizeLinear", "i q z")]
    constants = {"q": np.float32(1 / 256), "z": np.uint8(0)}
    converted = convert_ending(tmp_path, *nodes, constants=constants)
    logits, expected = compute_logits(converted)
    assert np.abs(logits.softmax(1).numpy() - expected).max() < 1 / 256
    assert converted.has_softmax
    assert converted.is_quantized


def test_a_softmax_in_the_middle_stays(tmp_path: Path) -> None:
    converted = convert_ending(
        tmp_path, node("Softmax", "logits", "s"), node("Gemm", "s v", "y"), constants={"v": numbers(5, 4)}
    )
    assert not converted.has_softmax
    logits, expected = compute_logits(converted)
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-6)


def test_of_logits_and_what_is_computed_from_them_logits_remain(tmp_path: Path) -> None:
    nodes = [node("Softmax", "logits", "probabilities")]
    converted = convert_ending(tmp_path, *nodes, outputs=("f", "logits", "probabilities"))
    assert converted.has_softmax
    assert any("'f', 'logits' are left out" in note for note in converted.notes)
    logits, expected = compute_logits(converted)
    np.testing.assert_allclose(logits.softmax(1).numpy(), expected, atol=1e-6)


def test_of_features_and_logits_the_logits_are_taken(tmp_path: Path) -> None:
    converted = convert_ending(tmp_path, outputs=("f", "logits", "p"))
    assert compute_logits(converted)[0].shape == (3, 5)


def test_two_heads_are_refused_by_name(tmp_path: Path) -> None:
    nodes = [node("Gemm", "f w b2", "auxiliary")]
    with pytest.raises(UnsupportedModel, match=r"2 outputs of logits.*'logits', 'auxiliary'.*extract_model"):
        convert_ending(tmp_path, *nodes, outputs=("logits", "auxiliary"), constants={"b2": numbers(5)})


def test_an_output_that_is_not_converted_does_no_harm(tmp_path: Path) -> None:
    nodes = [node("NonZero", "logits", "places"), node("Cast", "places", "p2", to=1)]
    converted = convert_ending(tmp_path, *nodes, outputs=("logits", "p2"))
    assert compute_logits(converted)[0].shape == (3, 5)


def test_maps_are_no_logits(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"No output.*'y' \(B, 3, 8, 8\).*segmenters"):
        convert_model(build_model([node("Relu", "x")]), tmp_path)


def test_labels_are_no_logits(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"'y' \(B\).*ArgMax"):
        convert_ending(tmp_path, node("ArgMax", "logits", axis=1, keepdims=0))


def test_logits_with_axes_of_one_are_flattened(tmp_path: Path) -> None:
    nodes = [node("GlobalAveragePool", "x", "p"), node("Conv", "p w")]
    converted = convert_model(build_model(nodes, {"w": numbers(5, 3, 1, 1)}), tmp_path)
    compare(converted)
    assert converted.network.num_classes == 5


REFUSED = {
    "LSTM": "recurrent layer",
    "Loop": "it is a loop",
    "NonMaxSuppression": "no counterpart",
    "RandomNormalLike": "no counterpart",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_operators_without_counterpart_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperator, match=rf"Operator {kind} \('the node'\).*{REFUSED[kind]}") as caught:
        convert_model(build_model([helper.make_node(kind, ["x"], ["y"], name="the node")]), tmp_path)
    assert "xport" in str(caught.value), "it says what to do"


@pytest.mark.parametrize("domain", ["com.microsoft", "mine"])
def test_other_domains_are_refused(domain: str, tmp_path: Path) -> None:
    model = build_model([helper.make_node("Relu", ["x"], ["y"], domain=domain)])
    model.opset_import.append(helper.make_opsetid(domain, 1))
    with pytest.raises(UnsupportedOperator, match=f"of the domain '{domain}'"):
        convert_model(model, tmp_path)


def make_choice(condition: str) -> onnx.NodeProto:
    """Make an If whose branches read a value from outside, and weights of their own."""
    branches = {}
    for name, kind in (("then_branch", "Add"), ("else_branch", "Sub")):
        inner = [helper.make_node(kind, ["logits", f"{name}_c"], [f"{name}_o"])]
        output = onnx.ValueInfoProto(name=f"{name}_o")
        output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        constant = numpy_helper.from_array(numbers(5, seed=7), f"{name}_c")
        branches[name] = helper.make_graph(inner, name, [], [output], [constant])
    return helper.make_node("If", [condition], ["y"], **branches)


@pytest.mark.parametrize("is_true", [True, False])
def test_a_choice_by_a_constant_is_made(is_true: bool, tmp_path: Path) -> None:
    converted = convert_ending(tmp_path, make_choice("c"), constants={"c": np.array(is_true)})
    logits, expected = compute_logits(converted)
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-5)


def test_a_choice_by_the_image_is_refused(tmp_path: Path) -> None:
    nodes = [
        node("ReduceMax", "logits", "m", keepdims=0, axes=[1]),
        node("Greater", "m zero", "c"),
        make_choice("c"),
    ]
    with pytest.raises(UnsupportedOperator, match=r"If .*chooses between branches"):
        convert_ending(tmp_path, *nodes, constants={"zero": np.float32(0)})


def test_operators_may_be_in_any_order(tmp_path: Path) -> None:
    model = build_model(VECTOR[::-1], WEIGHTS, outputs=["logits"])
    compare(convert_model(model, tmp_path))


def test_cycles_are_refused(tmp_path: Path) -> None:
    nodes = [node("Add", "x b", "a"), node("Neg", "a", "b"), node("Flatten", "b")]
    with pytest.raises(FileBroken, match="a cycle"):
        convert_model(build_model(nodes), tmp_path)


def test_two_operators_with_one_output_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileBroken, match="Two operators of the model compute 'y'"):
        convert_model(build_model([node("Relu", "x"), node("Neg", "x")]), tmp_path)


def test_missing_values_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileBroken, match="Nothing in the model computes 'absent'"):
        convert_model(build_model([node("Add", "x absent", "a"), node("Flatten", "a")]), tmp_path)


def test_shapes_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperator, match=r"Operator Add \('a'\) cannot be computed"):
        convert_model(build_model([node("Add", "x c", "a"), node("Flatten", "a")], {"c": numbers(7)}), tmp_path)


def test_a_file_that_works_for_one_image_alone_is_converted(tmp_path: Path) -> None:
    """It says that its batch is open, and has shapes for one image."""
    nodes = [node("Reshape", "x shape", "r"), node("MatMul", "r w", "y")]
    converted = convert_model(build_model(nodes, {"shape": integers(1, 192), "w": numbers(192, 5)}), tmp_path)
    compare(converted)
    assert any("batch of 1" in note for note in converted.notes)


@pytest.mark.parametrize("type_", [np.float16, np.float64])
def test_other_floats_become_float32(type_: Any, tmp_path: Path) -> None:
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(type_))
    constants = {"w": numbers(192, 5).astype(type_), "b": WEIGHTS["b"].astype(type_)}
    nodes = [node("Flatten", "x", "f"), node("Gemm", "f w b", "logits")]
    model = build_model(nodes, constants, outputs=["logits"], dtype=dtype)
    model.graph.output[0].type.tensor_type.elem_type = dtype
    converted = convert_model(model, tmp_path)
    assert {value.dtype for value in converted.network.state_dict().values()} == {torch.float32}
    logits, expected = compute_logits(converted)
    np.testing.assert_allclose(logits.numpy(), expected, atol=0.05)
    assert any("16 bits" in note for note in converted.notes) == (type_ is np.float16)


BOMBS = {
    "ConstantOfShape": (
        [node("ConstantOfShape", "huge", "h"), node("Add", "x h", "a")],
        {"huge": integers(10**6, 10**6)},
    ),
    "Expand": (
        [node("Expand", "one huge", "h"), node("Add", "x h", "a")],
        {"one": np.float32(1), "huge": integers(10**9, 8)},
    ),
    "Range": (
        [
            node("Range", "zero huge one", "h"),
            node("Slice", "h z e", "s"),
            node("Cast", "s", "c", to=1),
            node("Add", "x c", "a"),
        ],
        {"zero": np.int64(0), "huge": np.int64(10**12), "one": np.int64(1), "z": integers(0), "e": integers(8)},
    ),
    "Tile": ([node("Tile", "x huge", "a")], {"huge": integers(1, 10**6, 10**3, 1)}),
    "Pad": ([node("Pad", "x huge", "a")], {"huge": integers(0, 0, 10**6, 10**6, 0, 0, 0, 0)}),
    "Resize": ([node("Resize", "x - s", "a")], {"s": np.float32([1, 1, 10**5, 10**5])}),
    "Tile of a constant": (
        [node("Tile", "one huge", "h"), node("Add", "x h", "a")],
        {"one": np.float32([1]), "huge": integers(10**12)},
    ),
    "Conv": ([node("Conv", "x w", "a", pads=[10**6] * 4)], {"w": numbers(4, 3, 1, 1)}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_huge_values_are_refused_before_they_are_computed(name: str, tmp_path: Path) -> None:
    nodes, constants = BOMBS[name]
    with pytest.raises((UnsupportedModel, UnsupportedOperator), match=r"numbers|cannot be computed"):
        convert_model(build_model([*nodes, node("Flatten", "a")], constants, opset=13), tmp_path)


def test_the_path_of_a_file_without_names_is_that_of_its_maps(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w", "a", pads=[1, 1, 1, 1]),
        node("MaxPool", "a", "b", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "b v", "c", pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", "c", "d"),
    ]
    converted = check_nodes(
        tmp_path, [*nodes, node("Identity", "d")], {"w": numbers(4, 3, 3, 3), "v": numbers(4, 4, 3, 3)}
    )
    paths = list(converted.network.paths.values())
    assert paths[1:5] == ["stage.0.conv", "stage.0.pool", "stage.1.conv", "stage.1.pool"]
