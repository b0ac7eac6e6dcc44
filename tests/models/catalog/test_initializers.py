"""Initializers: the distributions of the weights that they draw, for layers of several shapes."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from models.catalog.heads import MLP
from models.catalog.initializers import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Initializer,
    LecunNormal,
    Normal,
    Orthogonal,
)
from models.catalog.technique import members
from tests.support.distributions import assert_drawn_from, normal, uniform

if TYPE_CHECKING:
    from collections.abc import Callable

SHAPES = [(64, 64), (10, 512), (300, 20)]
"""Outputs and inputs."""

UNIFORM: list[tuple[Initializer, Callable[[int, int], float]]] = [
    (GlorotUniform(), lambda inputs, outputs: sqrt(6 / (inputs + outputs))),
    (HeUniform(), lambda inputs, outputs: sqrt(6 / inputs)),
]
"""With the largest weight."""
NORMAL: list[tuple[Initializer, Callable[[int, int], float]]] = [
    (Normal(), lambda inputs, outputs: 1.0),
    (Normal(std=0.05), lambda inputs, outputs: 0.05),
    (GlorotNormal(), lambda inputs, outputs: sqrt(2 / (inputs + outputs))),
    (HeNormal(), lambda inputs, outputs: sqrt(2 / inputs)),
    (LecunNormal(), lambda inputs, outputs: sqrt(1 / inputs)),
]
"""With the standard deviation."""

every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def drawn(initializer: Initializer, outputs: int, inputs: int) -> torch.Tensor:
    """The weights of a layer."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.full((outputs, inputs), 99.0))
    initializer.apply(weight)
    return weight.detach()


@every_shape
@pytest.mark.parametrize(("initializer", "largest"), UNIFORM, ids=lambda given: type(given).__name__)
def test_weights_are_uniform(
    initializer: Initializer, largest: Callable[[int, int], float], shape: tuple[int, int]
) -> None:
    outputs, inputs = shape
    weight, r = drawn(initializer, outputs, inputs), largest(inputs, outputs)
    assert weight.abs().max().item() <= r
    assert weight.var().item() == pytest.approx(r**2 / 3, rel=0.06)
    assert_drawn_from(weight, uniform(-r, r))


@every_shape
@pytest.mark.parametrize(("initializer", "deviation"), NORMAL, ids=lambda given: type(given).__name__)
def test_weights_are_normal(
    initializer: Initializer, deviation: Callable[[int, int], float], shape: tuple[int, int]
) -> None:
    outputs, inputs = shape
    weight, std = drawn(initializer, outputs, inputs), deviation(inputs, outputs)
    assert weight.mean().item() == pytest.approx(0.0, abs=4 * std / sqrt(weight.numel()))
    assert weight.std().item() == pytest.approx(std, rel=0.04)
    assert_drawn_from(weight, normal(std))


@every_shape
@pytest.mark.parametrize("gain", [1.0, 1.5])
def test_rows_or_columns_are_orthogonal(gain: float, shape: tuple[int, int]) -> None:
    outputs, inputs = shape
    weight = drawn(Orthogonal(gain=gain), outputs, inputs)
    square = weight @ weight.T if outputs <= inputs else weight.T @ weight
    torch.testing.assert_close(square, gain**2 * torch.eye(min(shape)), atol=1e-5, rtol=0)


def test_orthogonal_weights_have_no_preferred_direction() -> None:
    """Check that each entry of a uniform rotation in three dimensions is uniform in [-1, 1] (Archimedes)."""
    torch.manual_seed(0)
    firsts = []
    for _ in range(300):
        weight = torch.empty(3, 3)
        Orthogonal().apply(weight)
        firsts.append(weight[0, 0].item())
    assert_drawn_from(firsts, uniform(-1, 1))


@pytest.mark.parametrize("technique", members(Initializer))
def test_the_seed_decides(technique: type[Any]) -> None:
    assert torch.equal(drawn(technique(), 8, 5), drawn(technique(), 8, 5))


@pytest.mark.parametrize("technique", members(Initializer))
def test_hidden_layers_start_by_it_and_biases_at_zero(technique: type[Any]) -> None:
    head = MLP(hidden=(12,), initializer=technique(), dropout=0.0).resolve(30, 4)
    torch.manual_seed(0)
    first = head.build(30, 4).hidden_layers[0].linear
    torch.manual_seed(0)
    alone = nn.Linear(30, 12)
    technique().apply(alone.weight)
    assert torch.equal(first.weight, alone.weight)
    assert first.bias.abs().max() == 0
