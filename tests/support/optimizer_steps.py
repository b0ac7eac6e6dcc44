"""Steps of an optimizer against steps by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.catalog.optimizers import Optimizer

GRADIENTS = [0.5, -2.0, 1.0, 1e-3, 0.0, -0.75]
START = 3.0


def step_optimizer(optimizer: Optimizer) -> list[float]:
    """Step an optimizer with known gradients: the weight after each step, in double precision."""
    weight = nn.Parameter(torch.tensor([START], dtype=torch.float64))
    steps = optimizer.build([weight])
    values = []
    for gradient in GRADIENTS:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        steps.step()
        values.append(weight.item())
    return values


def step_by_hand(change: Callable[[int, float, float], float]) -> list[float]:
    """Step t = 1, 2, … by hand, with gradient g at weight w, as w ← w - change(t, g, w)."""
    weight, values = START, []
    for number, gradient in enumerate(GRADIENTS, 1):
        weight -= change(number, gradient, weight)
        values.append(weight)
    return values


def agree(optimizer: Optimizer, change: Callable[[int, float, float], float]) -> None:
    """Assert that an optimizer and its formula make the same steps, to 1e-6."""
    assert step_optimizer(optimizer) == pytest.approx(step_by_hand(change), rel=1e-6)
