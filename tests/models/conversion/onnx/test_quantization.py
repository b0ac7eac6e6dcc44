"""Quantized operators: exact where nothing is rounded, and within a step of the quantization else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from onnx import TensorProto
from torch import nn

from tests.support.onnx_models import (
    build_model,
    check_nodes,
    compare,
    convert_model,
    integers,
    node,
    numbers,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx

    from models.conversion.converted import ConvertedNetwork


def check_within(
    folder: Path, nodes: Sequence[onnx.NodeProto], constants: Mapping[str, object], step: float, **options: object
) -> ConvertedNetwork:
    """Convert quantized operators and compare within a step."""
    converted = convert_model(
        build_model([*nodes, node("Flatten", "y", "v")], constants, outputs=["v"], **options), folder
    )
    images = numbers(3, *converted.input_size, low=-1.5, high=1.5)
    with torch.no_grad():
        actual = converted.network(torch.from_numpy(images)).numpy()
    expected = converted.original.run(images)
    assert np.abs(actual - expected).max() <= step
    assert np.abs(expected[0] - expected[1]).max() > 10 * step
    assert converted.is_quantized
    assert any("rounding" in note for note in converted.notes)
    return converted


SCALES = {"s": np.float32(0.01), "z": np.uint8(100), "s2": np.float32(0.02), "z2": np.int8(-3)}


def test_a_pair_of_quantizations_is_a_clamp(tmp_path: Path) -> None:
    """Values beyond (0 - 100)·0.01 and (255 - 100)·0.01 are cut in both."""
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"), node("Neg", "d")]
    converted = check_within(tmp_path, nodes, SCALES, 0.006)
    images = torch.full((1, 3, 8, 8), -9.0)
    assert converted.network(images).unique().tolist() == [1.0]
    assert converted.network(-images).unique().item() == np.float32(-1.55)


def test_the_range_of_logits_is_left_out(tmp_path: Path) -> None:
    """A linear layer gives the logits then, which can be replaced."""
    nodes = [
        node("Flatten", "x", "f"),
        node("Gemm", "f w", "g"),
        node("QuantizeLinear", "g s z", "q"),
        node("DequantizeLinear", "q s z"),
    ]
    model = build_model(nodes, {"w": numbers(192, 5), "s": np.float32(0.5), "z": np.uint8(128)})
    converted = convert_model(model, tmp_path)
    assert converted.network.num_classes == 5
    assert "clamp" not in str(converted.network.graph)


def test_weights_are_dequantized_by_channel(tmp_path: Path) -> None:
    constants = {
        **SCALES,
        "w": np.random.default_rng(0).integers(-128, 128, (4, 3, 3, 3)).astype(np.int8),
        "ws": numbers(4, low=0.001, high=0.01),
        "wz": np.zeros(4, np.int8),
        "b": np.array([100, -200, 0, 7], np.int32),
        "bs": np.float32(0.001),
    }
    nodes = [
        node("DequantizeLinear", "w ws wz", "weight", axis=0),
        node("DequantizeLinear", "b bs", "bias"),
        node("Conv", "x weight bias", pads=[1, 1, 1, 1]),
    ]
    for opset in (13, 19, 21):
        converted = check_nodes(tmp_path, nodes, constants, opset=opset)
    assert any(isinstance(module, nn.Conv2d) for module in converted.network.modules())
    assert converted.network.state_dict()


def test_floats_that_are_quantized_in_the_file(tmp_path: Path) -> None:
    constants = {**SCALES, "w": numbers(8, 5)}
    nodes = [node("QuantizeLinear", "w s2 z2", "q"), node("DequantizeLinear", "q s2 z2", "d"), node("MatMul", "x d")]
    check_nodes(tmp_path, nodes, constants)


def test_another_scale_is_applied(tmp_path: Path) -> None:
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s2 z")]
    check_within(tmp_path, nodes, SCALES, 0.02)


def test_images_of_integers(tmp_path: Path) -> None:
    """An input of 8 bits states the range of pixels; its scale and zero point stay in the network."""
    nodes = [
        node("DequantizeLinear", "x s z", "d"),
        node("Transpose", "d", "t", perm=[0, 3, 1, 2]),
        node("Conv", "t w", "y"),
    ]
    constants = {"s": np.float32(1 / 128), "z": np.uint8(127), "w": numbers(4, 3, 3, 3)}
    model = build_model(
        [*nodes, node("Flatten", "y", "v")],
        constants,
        images=("N", 8, 8, 3),
        outputs=["v"],
        dtype=TensorProto.UINT8,
    )
    converted = convert_model(model, tmp_path)
    compare(converted, has_whole_pixels=True)
    assert converted.preprocessing.mean == (0.0, 0.0, 0.0)
    assert converted.preprocessing.std == (1 / 255,) * 3


def test_linear_operators_of_integers(tmp_path: Path) -> None:
    constants = {
        **SCALES,
        "w": np.random.default_rng(0).integers(-128, 128, (4, 3, 3, 3)).astype(np.int8),
        "ws": numbers(4, low=0.001, high=0.004),
        "wz": np.zeros(4, np.int8),
        "b": np.array([100, -200, 0, 7], np.int32),
        "ys": np.float32(0.03),
        "yz": np.uint8(128),
        "m": np.random.default_rng(1).integers(-128, 128, (6, 5)).astype(np.int8),
        "ms": np.float32(0.003),
        "mz": np.int8(2),
    }
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("QLinearConv", "q s z w ws wz ys yz b", "c"),
        node("QLinearMatMul", "c ys yz m ms mz ys yz", "p"),
        node("DequantizeLinear", "p ys yz"),
    ]
    check_within(tmp_path, nodes, constants, 0.12)


def test_dynamic_quantization(tmp_path: Path) -> None:
    constants = {
        "shape": integers(0, 24, 8),
        "w": np.random.default_rng(0).integers(0, 256, (8, 5)).astype(np.uint8),
        "wz": np.uint8(120),
        "ws": np.float32(0.01),
    }
    nodes = [
        node("Reshape", "x shape", "r"),
        node("DynamicQuantizeLinear", "r", "q s z"),
        node("MatMulInteger", "q w z wz", "i"),
        node("Cast", "i", "f", to=1),
        node("Mul", "s ws", "scale"),
        node("Mul", "f scale"),
    ]
    check_within(tmp_path, nodes, constants, 0.1)
    kernel = {"w": np.random.default_rng(0).integers(0, 256, (4, 3, 3, 3)).astype(np.uint8)}
    nodes[:3] = [node("DynamicQuantizeLinear", "x", "q s z"), node("ConvInteger", "q w z wz", "i")]
    check_within(tmp_path, nodes, {**constants, **kernel}, 0.1)
