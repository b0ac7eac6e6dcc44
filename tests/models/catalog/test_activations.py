"""Activations against their formulas, and the initializers that suit them."""

from __future__ import annotations

from math import erf, exp, sqrt
from typing import TYPE_CHECKING, Any

import pytest
import torch
from pydantic import ValidationError

from models.catalog.activations import ELU, GELU, SELU, Activation, LeakyReLU, PReLU, ReLU, RReLU, Sigmoid, SiLU, Tanh
from models.catalog.heads import MLP
from models.catalog.technique import members
from tests.support.distributions import assert_drawn_from, uniform

if TYPE_CHECKING:
    from collections.abc import Callable

VALUES = [-20.0, -3.0, -1.0, -0.1, 0.0, 0.1, 1.0, 3.0, 20.0]

FORMULAS: list[tuple[Activation, Callable[[float], float]]] = [
    (Sigmoid(), lambda z: 1 / (1 + exp(-z))),
    (Tanh(), lambda z: 2 / (1 + exp(-2 * z)) - 1),
    (ReLU(), lambda z: max(0.0, z)),
    (LeakyReLU(), lambda z: max(0.01 * z, z)),
    (LeakyReLU(slope=0.3), lambda z: max(0.3 * z, z)),
    (RReLU(), lambda z: max((1 / 8 + 1 / 3) / 2 * z, z)),
    (RReLU(lower=0.2, upper=0.4), lambda z: max(0.3 * z, z)),
    (PReLU(), lambda z: max(0.25 * z, z)),
    (PReLU(slope=0.0), lambda z: max(0.0, z)),
    (ELU(), lambda z: z if z > 0 else exp(z) - 1),
    (ELU(alpha=0.5), lambda z: z if z > 0 else 0.5 * (exp(z) - 1)),
    (SELU(), lambda z: 1.0507009873554805 * (z if z > 0 else 1.6732632423543772 * (exp(z) - 1))),
    (GELU(), lambda z: z * (1 + erf(z / sqrt(2))) / 2),
    (SiLU(), lambda z: z / (1 + exp(-z))),
]

SUITED = {
    "sigmoid": "glorot_uniform",
    "tanh": "glorot_uniform",
    "selu": "lecun_normal",
}
"""Initializers that `auto` pairs with activations; he_normal for the others."""

every_activation = pytest.mark.parametrize("technique", members(Activation))


@pytest.mark.parametrize(("activation", "formula"), FORMULAS, ids=lambda given: type(given).__name__)
def test_agrees_with_its_formula(activation: Activation, formula: Callable[[float], float]) -> None:
    found = activation.build().double().eval()(torch.tensor(VALUES, dtype=torch.float64))
    assert found.tolist() == pytest.approx([formula(value) for value in VALUES], rel=1e-6, abs=1e-12)


@every_activation
def test_its_slope_is_that_of_its_formula(technique: type[Any]) -> None:
    built = technique().build().double().eval()
    z = torch.tensor([-2.0, -0.5, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(built, (z,))


@every_activation
def test_auto_pairs_it_with_the_initializer_that_suits_it(technique: type[Any]) -> None:
    head = MLP(hidden=(8,), activation=technique()).resolve(30, 4)
    (layer,) = head.hidden
    assert layer.initializer == head.initializer == technique.initializer
    assert layer.initializer.kind == SUITED.get(technique().kind, "he_normal")


def test_the_slopes_of_rrelu_are_uniform_in_training() -> None:
    torch.manual_seed(0)
    training = RReLU(lower=0.1, upper=0.6).build().train()
    slopes = -training(torch.full((5000,), -1.0))
    assert_drawn_from(slopes, uniform(0.1, 0.6))
    assert training(torch.tensor([0.0, 2.0])).tolist() == [0.0, 2.0]
    assert not torch.equal(slopes, -training(torch.full((5000,), -1.0))), "drawn anew"


def test_the_slope_of_prelu_is_learned_one_for_the_layer() -> None:
    (slope,) = PReLU(slope=0.1).build().parameters()
    assert slope.tolist() == [pytest.approx(0.1)]


@every_activation
def test_nothing_else_is_learned(technique: type[Any]) -> None:
    assert technique is PReLU or list(technique().build().parameters()) == []


def test_selu_keeps_mean_and_variance_from_layer_to_layer() -> None:
    torch.manual_seed(0)
    head = MLP(hidden=(400,) * 12, activation="selu", dropout=0.0).resolve(400, 4).build(400, 4)
    hidden = head.hidden(torch.randn(500, 400))
    assert hidden.mean().item() == pytest.approx(0.0, abs=0.1)
    assert hidden.var().item() == pytest.approx(1.0, abs=0.15)


def test_a_range_that_is_upside_down_is_answered_by_what_to_do() -> None:
    with pytest.raises(ValidationError, match=r"lower is 0\.5, above upper, which is 0\.2: exchange them"):
        RReLU(lower=0.5, upper=0.2)
    assert RReLU(lower=0.3, upper=0.3).build().eval()(torch.tensor([-1.0])).item() == pytest.approx(-0.3)
