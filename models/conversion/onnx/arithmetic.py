"""ONNX's elementwise operators: arithmetic, comparisons, logic, casts and quantities of several inputs."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

import torch

from models.conversion.arithmetic import apply_binary, match_batch
from models.conversion.errors import UnsupportedOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.conversion.graph_builder import GraphBuilder
    from models.conversion.onnx.operator import Converter, Operator
    from models.conversion.values import Value


def binary(function: Callable[..., Any]) -> Converter:
    """Convert an operator of two inputs."""

    def convert(builder: GraphBuilder, operator: Operator) -> Value:
        return apply_binary(builder, function, operator.x, operator.require(1), operator.path)

    return convert


def unary(function: Callable[..., Any]) -> Converter:
    """Convert an operator of one input."""

    def convert(builder: GraphBuilder, operator: Operator) -> Value:
        return builder.call(function, operator.x, path=operator.path)

    return convert


def variadic(function: Callable[..., Any]) -> Converter:
    """Convert an operator of any number of inputs, two at a time."""

    def convert(builder: GraphBuilder, operator: Operator) -> Value:
        values = [operator.require(index) for index in range(len(operator.inputs))]
        return reduce(lambda x, y: apply_binary(builder, function, x, y, operator.path), values)

    return convert


def divide(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Div: of integers, towards zero."""
    x, y = operator.x, operator.require(1)
    if x.samples[0].is_floating_point() or y.samples[0].is_floating_point():
        return apply_binary(builder, torch.div, x, y, operator.path)
    return builder.call(torch.div, x, y, path=operator.path, rounding_mode="trunc")


def divide_exactly(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Mod: the remainder has the divisor's sign, or the dividend's with fmod."""
    function = torch.fmod if operator.get_int("fmod") else torch.remainder
    return builder.call(function, operator.x, operator.require(1), path=operator.path)


def average(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Mean, of several inputs."""
    total = variadic(torch.add)(builder, operator)
    assert not isinstance(total, list)
    return builder.call(torch.div, total, len(operator.inputs), path=operator.path)


def clip(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Clip, whose bounds are attributes before version 11."""
    low, high = operator.number_at(1, "min"), operator.number_at(2, "max")
    if low is None and high is None:
        return operator.x
    if (low, high) == (0.0, 6.0):
        return builder.module(torch.nn.ReLU6(), operator.x, operator.path, "clip")
    if not operator.x.samples[0].is_floating_point():
        low, high = (None if bound is None else int(bound) for bound in (low, high))
    return builder.call(torch.clamp, operator.x, low, high, path=operator.path, name="clip")


FLOATS = {1, 10, 11, 16}
"""Numbers of float, float16, double and bfloat16."""
INTEGERS = {2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool}
"""Other types by their numbers; 4, 12 and 13 (unsigned ones) are computed as int64."""


def cast(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Cast: every kind of float is float32."""
    return cast_to(builder, operator.x, operator.get_int("to", 1), operator.path)


def cast_like(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert CastLike: to the type of the second input."""
    dtype = operator.require(1).samples[0].dtype
    number = next((number for number, kind in INTEGERS.items() if kind == dtype), 1)
    return cast_to(builder, operator.x, number, operator.path)


def cast_to(builder: GraphBuilder, x: Value, number: int, path: str) -> Value:
    """Cast to a type by its number."""
    if number not in FLOATS and number not in INTEGERS and number not in (4, 12, 13):
        raise UnsupportedOperator(f"A cast to type {number}, which is no number.")
    dtype = torch.float32 if number in FLOATS else INTEGERS.get(number, torch.int64)
    if not x.flows and number == 11:
        dtype = torch.float64
    if x.samples[0].dtype == dtype or (x.flows and number in FLOATS and x.samples[0].is_floating_point()):
        return x
    return builder.call(torch.Tensor.to, x, dtype, path=path, name="cast")


def where(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Where."""
    condition, x, y = (operator.require(index) for index in range(3))
    flowing = next((value for value in (condition, x, y) if value.flows), None)
    if flowing is not None:
        condition, x, y = (v if v.flows else match_batch(builder, v, flowing) for v in (condition, x, y))
    return builder.call(torch.where, condition, x, y, path=operator.path)


def power(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Pow; squares and roots are functions of their own."""
    x, exponent = operator.x, operator.require(1)
    if x.flows and exponent.is_constant and exponent.tensor.numel() == 1 and exponent.ndim <= x.ndim:
        number = float(exponent.tensor.item())
        if number in (0.5, 2.0):
            return builder.call(torch.sqrt if number == 0.5 else torch.square, x, path=operator.path)
    return apply_binary(builder, torch.pow, x, exponent, operator.path)


def keep(builder: GraphBuilder, operator: Operator) -> Value:
    """Convert Identity, Dropout and what else leaves its input as it is when a network is used."""
    return operator.x


OPERATORS: dict[str, Converter] = {
    "Abs": unary(torch.abs),
    "Add": binary(torch.add),
    "And": binary(torch.logical_and),
    "Cast": cast,
    "CastLike": cast_like,
    "Ceil": unary(torch.ceil),
    "Clip": clip,
    "Cos": unary(torch.cos),
    "Div": divide,
    "Dropout": keep,
    "Equal": binary(torch.eq),
    "Erf": unary(torch.erf),
    "Exp": unary(torch.exp),
    "Floor": unary(torch.floor),
    "Greater": binary(torch.gt),
    "GreaterOrEqual": binary(torch.ge),
    "Identity": keep,
    "Less": binary(torch.lt),
    "LessOrEqual": binary(torch.le),
    "Log": unary(torch.log),
    "Max": variadic(torch.maximum),
    "Mean": average,
    "Min": variadic(torch.minimum),
    "Mod": divide_exactly,
    "Mul": binary(torch.mul),
    "Neg": unary(torch.neg),
    "Not": unary(torch.logical_not),
    "Or": binary(torch.logical_or),
    "Pow": power,
    "Reciprocal": unary(torch.reciprocal),
    "Round": unary(torch.round),
    "Sign": unary(torch.sign),
    "Sin": unary(torch.sin),
    "Sqrt": unary(torch.sqrt),
    "Sub": binary(torch.sub),
    "Sum": variadic(torch.add),
    "Where": where,
    "Xor": binary(torch.logical_xor),
}
