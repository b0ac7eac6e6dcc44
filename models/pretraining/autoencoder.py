"""Autoencoders: a hidden layer learns to give its input back (Hinton & Salakhutdinov, 2006; Vincent et al., 2008)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from models.pretraining.greedy_layerwise import Fit

if TYPE_CHECKING:
    from models.catalog.pretraining import Autoencoder
    from models.pretraining.greedy_layerwise import Layer


class Reconstruction(nn.Module):
    """x ↦ V·layer(x) + c, (B, D) → (B, D); V is a weight of its own, or Wᵀ of the layer's W (H, D)."""

    def __init__(self, layer: Layer, tied: bool) -> None:
        super().__init__()
        self.layer, self.linear = layer.modules, layer.linear
        self.bias = nn.Parameter(torch.zeros_like(self.linear.weight[0]))
        self.own = None
        if not tied:
            self.own = nn.Parameter(nn.init.xavier_uniform_(torch.empty_like(self.linear.weight.T)))

    @property
    def weight(self) -> torch.Tensor:
        """V, (D, H)."""
        return self.linear.weight.T if self.own is None else self.own

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """What the decoder makes of the layer's code."""
        return nn.functional.linear(self.layer(rows), self.weight, self.bias)


def fit(technique: Autoencoder, layer: Layer, batch_size: int) -> Fit:
    """Train the layer, in place, to give back x from x̃ = x + noise·s·ε, s the deviation of x and ε ~ N(0, 1).

    The losses are mean squared errors of a number of x.
    """
    return Fit(fitted(technique, layer, batch_size)[1])


def fitted(technique: Autoencoder, layer: Layer, batch_size: int) -> tuple[Reconstruction, list[float]]:
    """The same; gives the decoder too, with the loss of each epoch."""
    reconstruction = Reconstruction(layer, technique.tied_weights)
    optimizer = torch.optim.Adam(reconstruction.parameters(), lr=technique.lr)
    scale = technique.noise * layer.inputs.std(0, correction=0)
    losses: list[float] = []
    for _ in layer.epochs(technique.epochs):
        total = 0.0
        for rows in layer.batches(batch_size):
            noisy = rows + scale * torch.randn_like(rows) if technique.noise else rows
            loss = nn.functional.mse_loss(reconstruction(noisy), rows)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(layer.inputs))
        if not math.isfinite(total):
            break
    return reconstruction, losses
