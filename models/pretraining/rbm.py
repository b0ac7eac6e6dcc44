"""Restricted Boltzmann machines: a hidden layer learns the distribution of its input (Hinton, 2002; 2010)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import linear, softplus

from models.pretraining.greedy_layerwise import Fit

if TYPE_CHECKING:
    from models.catalog.pretraining import RestrictedBoltzmannMachine
    from models.pretraining.greedy_layerwise import LayerTask


class Machine:
    """Restricted Boltzmann machine.

    p(v, h) ∝ e^-E; E = ½‖v - c‖² - bᵀ·h - hᵀ·W·v of Gaussian v, -cᵀ·v - bᵀ·h - hᵀ·W·v of binary; h is binary.

    Visible units are taken at their mean, not sampled, as Hinton (2010) advises for standardized v: their variance
    of 1 leaves no room for noise. W (H, D) and b (H,) are the layer's own, c (D,) is the machine's.
    """

    def __init__(self, task: LayerTask) -> None:
        self.weight, self.hidden = task.linear.weight, task.linear.bias
        self.visible = torch.nn.Parameter(torch.zeros_like(self.weight[0]))
        self.is_gaussian = task.is_first

    def infer_hidden(self, v: torch.Tensor) -> torch.Tensor:
        """Compute p(h = 1|v) = σ(W·v + b): (B, D) → (B, H)."""
        return linear(v, self.weight, self.hidden).sigmoid()

    def reconstruct(self, h: torch.Tensor) -> torch.Tensor:
        """Compute the mean of v|h, Wᵀ·h + c or σ of it: (B, H) → (B, D)."""
        sums = linear(h, self.weight.T, self.visible)
        return sums if self.is_gaussian else sums.sigmoid()

    def compute_free_energy(self, v: torch.Tensor) -> torch.Tensor:
        """Compute F with p(v) ∝ e^-F: ½‖v - c‖², or -cᵀ·v, minus Σ log(1 + e^(W·v + b)): (B, D) → (B,)."""
        own = (v - self.visible).square().sum(1) / 2 if self.is_gaussian else -(v @ self.visible)
        return own - softplus(linear(v, self.weight, self.hidden)).sum(1)

    def sample(self, v: torch.Tensor, steps: int) -> torch.Tensor:
        """Gibbs sampling: the visible units after `steps` steps from v, (B, D)."""
        for _ in range(steps):
            likely = self.infer_hidden(v)
            v = self.reconstruct((torch.rand_like(likely) < likely).float())
        return v

    def set_gradients(self, v: torch.Tensor, v_k: torch.Tensor) -> None:
        """Set -ΔW = ⟨h_k·v_kᵀ⟩ - ⟨h·vᵀ⟩, -Δb = ⟨h_k⟩ - ⟨h⟩ and -Δc = ⟨v_k⟩ - ⟨v⟩ as gradients."""
        h, h_k = self.infer_hidden(v), self.infer_hidden(v_k)
        self.weight.grad = (h_k.T @ v_k - h.T @ v) / len(v)
        self.hidden.grad = (h_k - h).mean(0)
        self.visible.grad = (v_k - v).mean(0)


@torch.no_grad()
def fit(technique: RestrictedBoltzmannMachine, task: LayerTask, batch_size: int) -> Fit:
    """Train the layer, in place, by contrastive divergence with momentum.

    The losses are mean squared errors of a number of v after the steps of Gibbs sampling. The gap of free energies,
    F(v) less F after them, falls as v becomes likely.
    """
    machine = Machine(task)
    parameters = [machine.weight, machine.hidden, machine.visible]
    optimizer = torch.optim.SGD(parameters, lr=technique.lr, momentum=technique.momentum)
    losses: list[float] = []
    gaps: list[float] = []
    for _ in task.epochs(technique.epochs):
        error = gap = 0.0
        for v in task.batches(batch_size):
            v_k = machine.sample(v, technique.steps)
            error += (v - v_k).square().mean(1).sum().item()
            gap += (machine.compute_free_energy(v) - machine.compute_free_energy(v_k)).sum().item()
            machine.set_gradients(v, v_k)
            optimizer.step()
        losses.append(error / len(task.inputs))
        gaps.append(gap / len(task.inputs))
        if not math.isfinite(error):
            break
    return Fit(losses, {"first_free_energy_gap": gaps[0], "last_free_energy_gap": gaps[-1]})
