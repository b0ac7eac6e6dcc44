"""Optimizers against steps by hand, from the formula of the docstring and from known gradients."""

from __future__ import annotations

import math
from math import sqrt
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from models.catalog.optimizers import SGD, AdaGrad, Adam, AdamW, Momentum, NAdam, Nesterov, Optimizer, RMSProp
from models.catalog.technique import members
from tests.support.optimizer_steps import agree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from models.catalog.optimizers import Parameters

every_optimizer = pytest.mark.parametrize("technique", members(Optimizer))


def test_sgd_steps_as_its_formula_says() -> None:
    agree(SGD(lr=0.1), lambda t, g, w: 0.1 * g)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_momentum_steps_as_its_formula_says(share: float) -> None:
    v = 0.0

    def change(t: int, g: float, w: float) -> float:
        nonlocal v
        v = share * v + g
        return 0.1 * v

    agree(Momentum(lr=0.1, momentum=share), change)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_nesterov_steps_as_its_formula_says(share: float) -> None:
    v = 0.0

    def change(t: int, g: float, w: float) -> float:
        nonlocal v
        v = share * v + g
        return 0.1 * (g + share * v)

    agree(Nesterov(lr=0.1, momentum=share), change)


@pytest.mark.parametrize("epsilon", [1e-10, 0.1])
def test_adagrad_steps_as_its_formula_says(epsilon: float) -> None:
    s = 0.0

    def change(t: int, g: float, w: float) -> float:
        nonlocal s
        s += g**2
        return 0.1 * g / (sqrt(s) + epsilon)

    agree(AdaGrad(lr=0.1, epsilon=epsilon), change)


@pytest.mark.parametrize(("decay", "epsilon"), [(0.9, 1e-8), (0.5, 0.1), (0.0, 1e-8)])
def test_rmsprop_steps_as_its_formula_says(decay: float, epsilon: float) -> None:
    s = 0.0

    def change(t: int, g: float, w: float) -> float:
        nonlocal s
        s = decay * s + (1 - decay) * g**2
        return 0.1 * g / (sqrt(s) + epsilon)

    agree(RMSProp(lr=0.1, decay=decay, epsilon=epsilon), change)


class Means:
    """Compute Adam's means of gradients and of their squares, corrected for their start at zero."""

    def __init__(self, beta1: float, beta2: float) -> None:
        self.beta1, self.beta2, self.m, self.v = beta1, beta2, 0.0, 0.0

    def take(self, t: int, g: float) -> tuple[float, float]:
        """m̂ and √v̂ after step t."""
        self.m = self.beta1 * self.m + (1 - self.beta1) * g
        self.v = self.beta2 * self.v + (1 - self.beta2) * g**2
        return self.m / (1 - self.beta1**t), sqrt(self.v / (1 - self.beta2**t))


@pytest.mark.parametrize(("beta1", "beta2", "epsilon"), [(0.9, 0.999, 1e-8), (0.5, 0.9, 0.1), (0.0, 0.0, 1e-8)])
def test_adam_steps_as_its_formula_says(beta1: float, beta2: float, epsilon: float) -> None:
    means = Means(beta1, beta2)

    def change(t: int, g: float, w: float) -> float:
        m, root = means.take(t, g)
        return 0.1 * m / (root + epsilon)

    agree(Adam(lr=0.1, beta1=beta1, beta2=beta2, epsilon=epsilon), change)


@pytest.mark.parametrize("decay", [0.0, 0.01, 0.3])
def test_adamw_steps_as_its_formula_says(decay: float) -> None:
    means = Means(0.9, 0.999)

    def change(t: int, g: float, w: float) -> float:
        m, root = means.take(t, g)
        return 0.1 * (m / (root + 1e-8) + decay * w)

    agree(AdamW(lr=0.1, weight_decay=decay), change)


@pytest.mark.parametrize("beta1", [0.9, 0.5])
def test_nadam_steps_as_its_formula_says(beta1: float) -> None:
    m, v, product = 0.0, 0.0, 1.0

    def share(t: int) -> float:
        return beta1 * (1 - math.pow(0.96, t / 250) / 2)

    def change(t: int, g: float, w: float) -> float:
        nonlocal m, v, product
        m = beta1 * m + (1 - beta1) * g
        v = 0.999 * v + 0.001 * g**2
        product *= share(t)
        ahead = share(t + 1) * m / (1 - product * share(t + 1)) + (1 - share(t)) * g / (1 - product)
        return 0.1 * ahead / (sqrt(v / (1 - 0.999**t)) + 1e-8)

    agree(NAdam(lr=0.1, beta1=beta1), change)


def descended(technique: type[Any], parameters: Callable[[nn.Parameter, nn.Parameter], Parameters]) -> Iterator[float]:
    """The loss of a bowl, and after 60 steps of an optimizer."""
    one, other = nn.Parameter(torch.tensor([2.0])), nn.Parameter(torch.tensor([-1.0]))
    optimizer = technique(lr=0.05).build(parameters(one, other))
    for step in range(61):
        loss = one.square().sum() + 3 * other.square().sum()
        if step in (0, 60):
            yield loss.item()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


@every_optimizer
def test_a_bowl_is_descended(technique: type[Any]) -> None:
    before, after = descended(technique, lambda one, other: [one, other])
    assert after < 0.6 * before


@every_optimizer
def test_groups_keep_rates_of_their_own(technique: type[Any]) -> None:
    one, other = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = technique(lr=0.05).build([{"params": [one]}, {"params": [other], "lr": 0.0}])
    one.grad, other.grad = torch.ones(1), torch.ones(1)
    optimizer.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.0]
    assert one.item() < 1.0
    assert other.item() == 1.0


@every_optimizer
def test_the_rate_is_auto_until_it_is_found(technique: type[Any]) -> None:
    assert technique().lr == "auto"
    found = technique().with_lr(0.25)
    assert (found.rate, found) == (0.25, technique(lr=0.25))
    assert found.build([nn.Parameter(torch.ones(1))]).param_groups[0]["lr"] == 0.25
