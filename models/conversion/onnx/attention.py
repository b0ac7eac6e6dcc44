"""ONNX's Attention and RotaryEmbedding, which version 23 of its operators has as one each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from models.conversion.arithmetic import apply_binary, match_batch
from models.conversion.errors import UnsupportedOperator
from models.conversion.shapes import concatenate, permute

if TYPE_CHECKING:
    from models.conversion.graph_builder import GraphBuilder
    from models.conversion.onnx.operator import Converter, Operator
    from models.conversion.values import Value


def attend(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Attention, softmax(Q·Kᵀ·scale + mask)·V (Vaswani et al., 2017), without caches of earlier tokens.

    Q, K and V have shape (B, heads, tokens, D), or (B, tokens, heads·D) with the heads as attributes.
    """
    if any(operator.get(index) is not None for index in range(4, 7)) or operator.outputs > 1:
        raise UnsupportedOperator("Attention with a cache of earlier tokens, or with more than one output.")
    if operator.get_float("softcap"):
        raise UnsupportedOperator("Attention with a softcap.")
    query, key, value = (operator.require(index) for index in range(3))
    heads, others = operator.get_int("q_num_heads"), operator.get_int("kv_num_heads")
    is_flat = query.ndim == 3
    if is_flat:
        if not heads or not others:
            raise UnsupportedOperator("Attention without its numbers of heads.")
        query = _split_heads(builder, query, heads, operator.path)
        key, value = (_split_heads(builder, one, others, operator.path) for one in (key, value))
    mask = operator.get(3)
    options: dict[str, Any] = {}
    if "scale" in operator.attributes:
        options["scale"] = operator.get_float("scale")
    if query.shape[1] != key.shape[1]:
        options["enable_gqa"] = True
    result = builder.call(
        functional.scaled_dot_product_attention,
        query,
        key,
        value,
        None if mask is None else match_batch(builder, mask, query),
        0.0,
        bool(operator.get_int("is_causal")),
        path=operator.path,
        **options,
    )
    if not is_flat:
        return result
    tokens = permute(builder, result, (0, 2, 1, 3), operator.path)
    return builder.call(torch.flatten, tokens, 2, path=operator.path)


def _split_heads(builder: GraphBuilder, x: Value, heads: int, path: str) -> Value:
    """Split (B, tokens, heads·D) into (B, heads, tokens, D)."""
    if x.shape[2] % heads:
        raise UnsupportedOperator(f"{x.shape[2]} numbers for {heads} heads.")
    split = builder.call(torch.unflatten, x, 2, (heads, x.shape[2] // heads), path=path)
    return permute(builder, split, (0, 2, 1, 3), path)


def rotate(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert RotaryEmbedding (Su et al., 2021) of all numbers of a head, in two halves or in pairs.

    Images (B, heads, tokens, D), or (B, tokens, heads·D); cosines and sines (B or 1, tokens, D / 2), or with constant
    positions (B or 1, tokens) into tables (positions, D / 2).
    """
    if operator.get_int("rotary_embedding_dim"):
        raise UnsupportedOperator("RotaryEmbedding of a part of each head.")
    x, path = operator.x, operator.path
    is_flat = x.ndim == 3
    if is_flat:
        heads = operator.get_int("num_heads")
        if not heads:
            raise UnsupportedOperator("RotaryEmbedding without its number of heads.")
        x = _split_heads(builder, x, heads, path)
    cosine, sine = (_read_table(builder, operator, index, x) for index in (1, 2))
    half = x.shape[3] // 2
    if operator.get_int("interleaved"):
        pairs = builder.call(torch.unflatten, x, 3, (half, 2), path=path)
        first, second = (builder.call(torch.select, pairs, 4, index, path=path) for index in (0, 1))
    else:
        first, second = (builder.call(torch.narrow, x, 3, start, half, path=path) for start in (0, half))

    def multiply(a: Value, b: Value) -> Value:
        return apply_binary(builder, torch.mul, a, b, path)

    real = apply_binary(builder, torch.sub, multiply(first, cosine), multiply(second, sine), path)
    imaginary = apply_binary(builder, torch.add, multiply(first, sine), multiply(second, cosine), path)
    if operator.get_int("interleaved"):
        parts = [builder.call(torch.unsqueeze, part, 4, path=path) for part in (real, imaginary)]
        result = builder.call(torch.flatten, concatenate(builder, parts, 4, path), 3, path=path)
    else:
        result = concatenate(builder, [real, imaginary], 3, path)
    if not is_flat:
        return result
    tokens = permute(builder, result, (0, 2, 1, 3), path)
    return builder.call(torch.flatten, tokens, 2, path=path)


def _read_table(builder: GraphBuilder, operator: Operator, index: int, x: Value) -> Value:
    """Read cosines or sines as (1, 1, tokens, D / 2), the same for all heads."""
    table, positions = operator.require(index), operator.get(3)
    if positions is not None:
        table = builder.fold(lambda numbers, places: numbers[places], table, positions)
    if table.flows:
        raise UnsupportedOperator("RotaryEmbedding whose angles depend on the image.")
    if table.shape[2] * 2 != x.shape[3]:
        raise UnsupportedOperator("RotaryEmbedding of a part of each head.")
    return match_batch(builder, builder.fold(torch.unsqueeze, table, 1), x)


OPERATORS: dict[str, Converter] = {"Attention": attend, "RotaryEmbedding": rotate}
