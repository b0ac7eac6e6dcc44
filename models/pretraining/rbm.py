"""Restricted Boltzmann machines: a hidden layer learns the distribution of its input (Hinton, 2002; 2010)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import linear, softplus

from models.pretraining.greedy_layerwise import Fit

if TYPE_CHECKING:
    from models.catalog.pretraining import RestrictedBoltzmannMachine
    from models.pretraining.greedy_layerwise import Layer


class Machine:
    """p(v, h) ∝ e^-E; E = ½‖v - c‖² - bᵀ·h - hᵀ·W·v of Gaussian v, -cᵀ·v - bᵀ·h - hᵀ·W·v of binary; h is binary.

    What is visible is not drawn, but taken at its mean, as Hinton (2010) recommends for standardized v: their variance
    of 1 leaves no room for noise. W (H, D) and b (H,) are the layer's own, c (D,) is the machine's.
    """

    def __init__(self, layer: Layer) -> None:
        self.weight, self.hidden = layer.linear.weight, layer.linear.bias
        self.visible = torch.nn.Parameter(torch.zeros_like(self.weight[0]))
        self.is_gaussian = layer.is_first

    def up(self, v: torch.Tensor) -> torch.Tensor:
        """p(h = 1|v) = σ(W·v + b): (B, D) → (B, H)."""
        return linear(v, self.weight, self.hidden).sigmoid()

    def down(self, h: torch.Tensor) -> torch.Tensor:
        """The mean of v|h, Wᵀ·h + c, or σ of it: (B, H) → (B, D)."""
        sums = linear(h, self.weight.T, self.visible)
        return sums if self.is_gaussian else sums.sigmoid()

    def free_energy(self, v: torch.Tensor) -> torch.Tensor:
        """F with p(v) ∝ e^-F: ½‖v - c‖², or -cᵀ·v, minus Σ log(1 + e^(W·v + b)): (B, D) → (B,)."""
        own = (v - self.visible).square().sum(1) / 2 if self.is_gaussian else -(v @ self.visible)
        return own - softplus(linear(v, self.weight, self.hidden)).sum(1)

    def after(self, v: torch.Tensor, steps: int) -> torch.Tensor:
        """What is visible after so many steps of Gibbs sampling from v: (B, D)."""
        for _ in range(steps):
            likely = self.up(v)
            v = self.down((torch.rand_like(likely) < likely).float())
        return v

    def contrast(self, v: torch.Tensor, v_k: torch.Tensor) -> None:
        """Leave -ΔW = ⟨h_k·v_kᵀ⟩ - ⟨h·vᵀ⟩, -Δb = ⟨h_k⟩ - ⟨h⟩ and -Δc = ⟨v_k⟩ - ⟨v⟩ as gradients."""
        h, h_k = self.up(v), self.up(v_k)
        self.weight.grad = (h_k.T @ v_k - h.T @ v) / len(v)
        self.hidden.grad = (h_k - h).mean(0)
        self.visible.grad = (v_k - v).mean(0)


@torch.no_grad()
def fit(technique: RestrictedBoltzmannMachine, layer: Layer, batch_size: int) -> Fit:
    """Train the layer, in place, by contrastive divergence with momentum.

    The losses are mean squared errors of a number of v after the steps of Gibbs sampling. The gap of free energies,
    F(v) less F after them, falls as v becomes likely.
    """
    machine = Machine(layer)
    parameters = [machine.weight, machine.hidden, machine.visible]
    optimizer = torch.optim.SGD(parameters, lr=technique.lr, momentum=technique.momentum)
    losses: list[float] = []
    gaps: list[float] = []
    for _ in layer.epochs(technique.epochs):
        error = gap = 0.0
        for v in layer.batches(batch_size):
            v_k = machine.after(v, technique.steps)
            error += (v - v_k).square().mean(1).sum().item()
            gap += (machine.free_energy(v) - machine.free_energy(v_k)).sum().item()
            machine.contrast(v, v_k)
            optimizer.step()
        losses.append(error / len(layer.inputs))
        gaps.append(gap / len(layer.inputs))
        if not math.isfinite(error):
            break
    return Fit(losses, {"first_free_energy_gap": gaps[0], "last_free_energy_gap": gaps[-1]})
