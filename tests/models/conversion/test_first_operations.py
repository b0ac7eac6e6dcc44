"""Normalizations at the beginning of a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from models.conversion.arithmetic import apply_binary
from models.conversion.first_operations import FirstOperations, read_first_operations
from models.conversion.graph_builder import GraphBuilder
from models.conversion.output import finish
from models.conversion.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable


def read(*steps: tuple[Callable[..., object], object]) -> FirstOperations | None:
    """Build a network of steps, each a function and a constant, and a layer; and read its first operations."""
    builder = GraphBuilder((3, 8, 8))
    x = builder.images
    for function, constant in steps:
        x = apply_binary(builder, function, x, Value.constant(torch.as_tensor(constant)), "start")
    x = builder.module(nn.ReLU(), x, "relu")
    return read_first_operations(finish(builder, builder.call(torch.flatten, x, 1, path="")).network)


@pytest.mark.parametrize(
    ("steps", "slope", "shift", "largest"),
    [
        ([(torch.mul, 1 / 255.0)], 1 / 255, 0.0, 255.0),
        ([(torch.div, 127.5), (torch.sub, 1.0)], 1 / 127.5, -1.0, 255.0),
        ([(torch.sub, 0.5), (torch.div, 0.5)], 2.0, -1.0, 1.0),
        ([(torch.sub, 127.0)], 1.0, -127.0, 255.0),
        ([(torch.add, 0.1)], 1.0, 0.1, None),
        ([(torch.mul, 100.0)], 100.0, 0.0, None),
    ],
)
def test_normalizations(
    steps: list[tuple[Callable[..., object], float]], slope: float, shift: float, largest: float | None
) -> None:
    found = read(*steps)
    assert found is not None
    assert found.slope == pytest.approx((slope,))
    assert found.shift == pytest.approx((shift,))
    assert found.largest_pixel == largest


def test_a_layer_at_once_is_none() -> None:
    assert read() is None


def test_normalizations_of_each_channel() -> None:
    found = read((torch.sub, torch.tensor([123.0, 117.0, 104.0]).reshape(3, 1, 1)))
    assert found is not None
    assert found.shift == (-123.0, -117.0, -104.0)
    assert found.largest_pixel == 255.0


def test_channels_in_reverse_order() -> None:
    builder = GraphBuilder((3, 8, 8))
    index = Value.constant(torch.tensor([2, 1, 0]))
    x = builder.call(torch.index_select, builder.images, 1, index, path="flip")
    found = read_first_operations(finish(builder, builder.call(torch.flatten, x, 1, path="")).network)
    assert found is not None
    assert found.is_reversed
