"""Attention and rotary embeddings of ONNX's version 23 against onnxruntime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from models.conversion.errors import UnsupportedOperator
from tests.support.onnx_models import build_model, check_nodes, convert_model, integers, node, numbers

if TYPE_CHECKING:
    from pathlib import Path

MASKS = {
    "numbers": numbers(8, 8),
    "of_heads": numbers(1, 3, 8, 8),
    "flags": np.tril(np.ones((8, 8), bool)),
}


@pytest.mark.parametrize("attributes", [{}, {"scale": 0.7}, {"is_causal": 1}], ids=str)
def test_attention_of_heads(attributes: dict[str, Any], tmp_path: Path) -> None:
    nodes = [node("Mul", "x by", "keys"), node("Attention", "x keys x", **attributes)]
    check_nodes(tmp_path, nodes, {"by": numbers(3, 8, 8)}, opset=23, is_static_too=True)


@pytest.mark.parametrize("mask", MASKS)
def test_attention_with_a_mask(mask: str, tmp_path: Path) -> None:
    check_nodes(tmp_path, [node("Attention", "x x x mask")], {"mask": MASKS[mask]}, opset=23, is_static_too=True)


def test_attention_of_joined_heads(tmp_path: Path) -> None:
    nodes = [node("Reshape", "x shape", "rows"), node("Attention", "rows rows rows", q_num_heads=4, kv_num_heads=4)]
    check_nodes(tmp_path, nodes, {"shape": integers(0, 24, 8)}, opset=23, is_static_too=True)


def test_attention_whose_heads_share_keys(tmp_path: Path) -> None:
    nodes = [
        node("Slice", "x starts ends axes", "key"),
        node("Attention", "x key key"),
    ]
    constants = {"starts": integers(1), "ends": integers(2), "axes": integers(1)}
    check_nodes(tmp_path, nodes, constants, opset=23, is_static_too=True)


@pytest.mark.parametrize(
    ("inputs", "outputs", "attributes"),
    [("x x x - x x", "y", {}), ("x x x", "y", {"softcap": 2.0}), ("x x x", "y k v", {})],
)
def test_attention_of_generators_of_text_is_refused(
    inputs: str, outputs: str, attributes: dict[str, Any], tmp_path: Path
) -> None:
    model = build_model([node("Attention", inputs, outputs, **attributes)], opset=23)
    with pytest.raises(UnsupportedOperator, match="Attention with"):
        convert_model(model, tmp_path)


ANGLES = numbers(8, 4)
TABLES = {"cos": np.cos(ANGLES), "sin": np.sin(ANGLES)}


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding(interleaved: int, tmp_path: Path) -> None:
    tables = {name: table[None] for name, table in TABLES.items()}
    rotary = node("RotaryEmbedding", "x cos sin", interleaved=interleaved)
    check_nodes(tmp_path, [rotary], tables, opset=23, images=(1, 3, 8, 8))


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotary_embedding_at_positions(interleaved: int, tmp_path: Path) -> None:
    rotary = node("RotaryEmbedding", "x cos sin places", interleaved=interleaved)
    places = integers(3, 1, 4, 1, 5, 2, 6, 0)[None]
    check_nodes(tmp_path, [rotary], {**TABLES, "places": places}, opset=23, images=(1, 3, 8, 8))


def test_rotary_embedding_of_joined_heads(tmp_path: Path) -> None:
    nodes = [
        node("Reshape", "x shape", "rows"),
        node("RotaryEmbedding", "rows cos sin", num_heads=3),
    ]
    tables = {name: table[None] for name, table in TABLES.items()}
    constants = {**tables, "shape": integers(1, 8, 24)}
    check_nodes(tmp_path, nodes, constants, opset=23, images=(1, 3, 8, 8))
