"""The original ONNX model: sums of 8-bit products are exact on every processor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from models.conversion.onnx.image_input import ImageInput
from models.conversion.onnx.original import OnnxRuntime
from tests.support.onnx_models import build_model, node

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

PRODUCT = 255 * 127
"""Of the greatest numbers; the sum of two takes more than 16 bits."""
MATRIX, KERNEL = np.full((4, 5), 127, np.int8), np.full((2, 3, 1, 4), 127, np.int8)
SCALES = {"s": np.float32(1), "z": np.uint8(0), "ws": np.float32(1), "wz": np.int8(0)}
QUANTIZE, CAST = node("QuantizeLinear", "x s z", "q"), node("Cast", "i", "y", to=1)
DEQUANTIZE = node("DequantizeLinear", "i ys z", "y")


@pytest.mark.parametrize(
    ("nodes", "constants", "expected"),
    [
        ([QUANTIZE, node("MatMulInteger", "q w z", "i"), CAST], {"w": MATRIX}, 4 * PRODUCT),
        (
            [QUANTIZE, node("MatMulInteger", "q w z wz", "i"), CAST],
            {"w": MATRIX, "wz": np.full(5, 3, np.int8)},
            4 * (PRODUCT - 255 * 3),
        ),
        (
            [node("DynamicQuantizeLinear", "x", "q qs qz"), node("MatMulInteger", "q w qz", "i"), CAST],
            {"w": MATRIX},
            4 * PRODUCT,
        ),
        ([QUANTIZE, node("ConvInteger", "q w z", "i"), CAST], {"w": KERNEL}, 12 * PRODUCT),
        (
            [QUANTIZE, node("QLinearConv", "q s z w ws wz ys z", "i"), DEQUANTIZE],
            {"w": KERNEL, "ys": np.float32(12 * PRODUCT / 255)},
            12 * PRODUCT,
        ),
        (
            [QUANTIZE, node("QLinearMatMul", "q s z w ws wz ys z", "i"), DEQUANTIZE],
            {"w": MATRIX, "ys": np.float32(4 * PRODUCT / 255)},
            4 * PRODUCT,
        ),
    ],
)
def test_sums_of_products_of_integers_are_exact(
    tmp_path: Path, nodes: list[onnx.NodeProto], constants: dict[str, Any], expected: float
) -> None:
    model = build_model(nodes, {**SCALES, **constants}, images=("N", 3, 1, 4))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    images = ImageInput("x", (3, 1, 4), is_fixed_size=True, is_channels_last=False, batch=None, dtype="float32")
    found = OnnxRuntime(tmp_path / "model.onnx", images, "y", None).run(np.full((2, 3, 1, 4), 255, np.float32))
    assert found.ravel().tolist() == pytest.approx([expected] * found.size)
