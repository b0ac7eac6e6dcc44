"""Ascents of sharpness-aware minimization against their formulas by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from models.catalog.sharpness import ASAM, SAM, Sharpness
from models.catalog.technique import members

every_sharpness = pytest.mark.parametrize("technique", members(Sharpness))

WEIGHT = torch.tensor([[1.0, -2.0], [0.0, 0.5]])
BIAS = torch.tensor([3.0, 0.0])
GRADIENTS = [torch.tensor([[3.0, 0.0], [0.0, -4.0]]), torch.tensor([12.0, 0.0])]


def test_sam_goes_rho_far_up_the_gradient_of_all_weights_together() -> None:
    weight, bias = SAM(rho=0.26).compute_ascent([WEIGHT, BIAS], GRADIENTS)
    assert weight.tolist() == [pytest.approx([0.06, 0.0]), pytest.approx([0.0, -0.08])], "0.26 · g / √(9 + 16 + 144)"
    assert bias.tolist() == pytest.approx([0.24, 0.0])


def test_asam_goes_farther_where_weights_are_large() -> None:
    weight, bias = ASAM(rho=1.0, eta=0.5).compute_ascent([WEIGHT, BIAS], GRADIENTS)
    # T = |w| + 0.5 is 1.5 and 1 where the gradient is not zero, and 1 of the bias: T·g is 4.5, -4 and 12.
    norm = (4.5**2 + 4.0**2 + 12.0**2) ** 0.5
    assert weight.tolist() == [pytest.approx([1.5 * 4.5 / norm, 0.0]), pytest.approx([0.0, -4.0 / norm])]
    assert bias.tolist() == pytest.approx([12.0 / norm, 0.0])


def test_asam_does_not_depend_on_the_scale_of_a_layer() -> None:
    """A layer ten times as large, the next one a tenth: the same function, and the same relative change."""
    torch.manual_seed(0)
    weights = [torch.randn(4, 3, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)]
    gradients = [torch.randn_like(weight) for weight in weights]
    scaled = [[weights[0] * 10, weights[1] / 10], [gradients[0] / 10, gradients[1] * 10]]
    plain, other = ASAM(eta=1e-12).compute_ascent(weights, gradients), ASAM(eta=1e-12).compute_ascent(*scaled)
    torch.testing.assert_close(other[0], plain[0] * 10)
    torch.testing.assert_close(other[1], plain[1] / 10)


@every_sharpness
def test_where_all_gradients_are_zero_nothing_moves(technique: type[Any]) -> None:
    (change,) = technique().compute_ascent([WEIGHT], [torch.zeros(2, 2)])
    assert change.tolist() == [[0.0, 0.0], [0.0, 0.0]]


@every_sharpness
def test_of_a_small_step_the_loss_rises_most(technique: type[Any]) -> None:
    """No other direction of the same length raises the linearized loss as far (of T⁻¹e, for the adaptive one)."""
    torch.manual_seed(0)
    weight, gradient = torch.randn(5, 4), torch.randn(5, 4)
    chosen = technique(rho=0.05)
    (change,) = chosen.compute_ascent([weight], [gradient])
    scale = weight.abs() + chosen.eta if isinstance(chosen, ASAM) else torch.ones(5, 4)
    assert float((change / scale).norm()) == pytest.approx(0.05, rel=1e-5)
    for _ in range(100):
        other = torch.randn(5, 4)
        other = scale * other * 0.05 / other.norm()
        assert (gradient * other).sum() < (gradient * change).sum()
