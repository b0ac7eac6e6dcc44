"""Clippings against their formulas and torch's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from models.catalog.gradient_clipping import ByNorm, ByValue, Clipping
from models.catalog.technique import members

every_clipping = pytest.mark.parametrize("technique", members(Clipping))


def parameters(*gradients: list[float] | None) -> list[nn.Parameter]:
    """With these gradients."""
    made = []
    for gradient in gradients:
        parameter = nn.Parameter(torch.zeros(len(gradient or [0.0])))
        parameter.grad = None if gradient is None else torch.tensor(gradient)
        made.append(parameter)
    return made


def gradients(of: list[nn.Parameter]) -> list[list[float] | None]:
    """Copy the current gradients."""
    return [None if parameter.grad is None else parameter.grad.tolist() for parameter in of]


def test_by_value_clips_each_number() -> None:
    given = parameters([3.0, -0.2], None, [-5.0, 0.5, 0.4])
    assert ByValue(limit=0.5).clip(given) is True
    assert gradients(given) == [pytest.approx([0.5, -0.2]), None, pytest.approx([-0.5, 0.5, 0.4])]


def test_by_norm_scales_all_numbers_together() -> None:
    given = parameters([3.0, 0.0], None, [-4.0])
    assert ByNorm(limit=2.0).clip(given) is True
    assert gradients(given) == [pytest.approx([1.2, 0.0], rel=1e-6), None, pytest.approx([-1.6], rel=1e-6)]


@pytest.mark.parametrize("limit", [0.1, 1.0, 10.0, 100.0])
def test_both_are_torchs(limit: float) -> None:
    torch.manual_seed(0)
    numbers = [(10 * torch.randn(7)).tolist(), (10 * torch.randn(3)).tolist()]
    ours, theirs = parameters(*numbers), parameters(*numbers)
    was_clipped = ByNorm(limit=limit).clip(ours)
    norm = nn.utils.clip_grad_norm_(theirs, limit)
    assert gradients(ours) == gradients(theirs)
    assert was_clipped == (norm > limit)
    ours, theirs = parameters(*numbers), parameters(*numbers)
    was_clipped = ByValue(limit=limit).clip(ours)
    nn.utils.clip_grad_value_(theirs, limit)
    assert gradients(ours) == gradients(theirs)
    assert was_clipped == (gradients(ours) != numbers)


@every_clipping
def test_small_gradients_stay_and_are_not_reported_as_clipped(technique: type[Any]) -> None:
    given = parameters([0.6, 0.0], [-0.79])
    assert technique(limit=1.0).clip(given) is False
    assert gradients(given) == [pytest.approx([0.6, 0.0], rel=1e-6), pytest.approx([-0.79], rel=1e-6)]


@every_clipping
def test_nothing_to_clip_is_not_clipped(technique: type[Any]) -> None:
    assert technique().clip(parameters(None, None)) is False
