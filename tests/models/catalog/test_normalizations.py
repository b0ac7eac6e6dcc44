"""Normalizations against their formula, in training and after it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from models.catalog.heads import MLP
from models.catalog.normalizations import BatchNorm, LayerNorm, Normalization
from models.catalog.technique import members

every_normalization = pytest.mark.parametrize("technique", members(Normalization))


def rows(count: int = 16) -> torch.Tensor:
    """Sums of 5 units, each with a mean and a deviation of its own, (count, 5)."""
    torch.manual_seed(0)
    return torch.randn(count, 5, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.1, 2.0, 30.0]) + torch.arange(5.0)


def built(normalization: Normalization) -> nn.Module:
    """With γ and β that show."""
    made = normalization.build(5).double()
    with torch.no_grad():
        made.weight.copy_(torch.linspace(0.5, 2.0, 5))
        made.bias.copy_(torch.linspace(-1.0, 1.0, 5))
    return made


def by_hand(z: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor, epsilon: float) -> torch.Tensor:
    """γ·(z - μ)/√(σ² + ε) + β."""
    gamma, beta = torch.linspace(0.5, 2.0, 5), torch.linspace(-1.0, 1.0, 5)
    return gamma * (z - mean) / (variance + epsilon).sqrt() + beta


@pytest.mark.parametrize("epsilon", [1e-5, 0.1])
def test_batch_norm_takes_mean_and_variance_of_the_batch(epsilon: float) -> None:
    z = rows()
    expected = by_hand(z, z.mean(0), z.var(0, correction=0), epsilon)
    torch.testing.assert_close(built(BatchNorm(epsilon=epsilon)).train()(z), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("momentum", [0.9, 0.5, 0.0])
def test_batch_norm_after_training_takes_the_running_ones(momentum: float) -> None:
    layer = built(BatchNorm(momentum=momentum)).train()
    mean, variance = torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    for batch in torch.split(rows(), 4):
        layer(batch)
        mean = momentum * mean + (1 - momentum) * batch.mean(0)
        variance = momentum * variance + (1 - momentum) * batch.var(0)
    z = rows()[:1]
    torch.testing.assert_close(layer.eval()(z), by_hand(z, mean, variance, 1e-5), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("epsilon", [1e-5, 0.1])
def test_layer_norm_takes_mean_and_variance_of_a_image(epsilon: float) -> None:
    z = rows()
    expected = by_hand(z, z.mean(1, keepdim=True), z.var(1, correction=0, keepdim=True), epsilon)
    layer = built(LayerNorm(epsilon=epsilon))
    torch.testing.assert_close(layer.train()(z), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(layer.eval()(z[:1]), expected[:1], rtol=1e-6, atol=1e-6)


@every_normalization
def test_its_weights_start_at_one_and_its_biases_at_zero(technique: type[Any]) -> None:
    layer = technique().build(5)
    assert {name: parameter.tolist() for name, parameter in layer.named_parameters()} == {
        "weight": [1.0] * 5,
        "bias": [0.0] * 5,
    }


@pytest.mark.parametrize(
    ("place", "order"),
    [("before_activation", ["Linear", "norm", "ReLU"]), ("after_activation", ["Linear", "ReLU", "norm"])],
)
@every_normalization
def test_stands_where_it_should(technique: type[Any], place: str, order: list[str]) -> None:
    normalization = technique(place=place)
    name = type(normalization.build(7)).__name__
    head = MLP(hidden=(7, 6), normalization=normalization).resolve(9, 3).build(9, 3)
    names = [type(module).__name__.replace(name, "norm") for module in head.layers]
    assert names == ["Dropout", *order, "Dropout", *order, "Dropout", "Linear"]
