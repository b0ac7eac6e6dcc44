"""The closed list of ONNX operators that are converted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.conversion.onnx import (
    activations,
    arithmetic,
    attention,
    indexing,
    layers,
    pooling,
    quantization,
    reductions,
    shapes,
)

if TYPE_CHECKING:
    from models.conversion.onnx.operator import Converter

OPERATORS: dict[str, Converter] = {
    **activations.OPERATORS,
    **arithmetic.OPERATORS,
    **attention.OPERATORS,
    **indexing.OPERATORS,
    **layers.OPERATORS,
    **pooling.OPERATORS,
    **quantization.OPERATORS,
    **reductions.OPERATORS,
    **shapes.OPERATORS,
}
"""Converters by operator, of ONNX's own domain."""
