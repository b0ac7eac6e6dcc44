"""Autoencoders: a hidden layer learns to reconstruct its input (Hinton & Salakhutdinov, 2006; Vincent et al., 2008)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from models.pretraining.greedy_layerwise import Fit

if TYPE_CHECKING:
    from models.catalog.pretraining import Autoencoder
    from models.nn.head import HiddenLayer
    from models.pretraining.greedy_layerwise import LayerTask


class Reconstruction(nn.Module):
    """Reconstruction V·layer(x) + c, (B, D) → (B, D); V is a weight of its own, or Wᵀ of the layer's W (H, D)."""

    def __init__(self, layer: HiddenLayer, tied: bool) -> None:
        super().__init__()
        self.layer, self.linear = layer, layer.linear
        self.bias = nn.Parameter(torch.zeros_like(self.linear.weight[0]))
        self.own = None
        if not tied:
            self.own = nn.Parameter(nn.init.xavier_uniform_(torch.empty_like(self.linear.weight.T)))

    @property
    def weight(self) -> torch.Tensor:
        """The decoder's weight V, (D, H)."""
        return self.linear.weight.T if self.own is None else self.own

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Reconstruct the layer's inputs."""
        return nn.functional.linear(self.layer.activate(rows), self.weight, self.bias)


def fit(technique: Autoencoder, task: LayerTask, batch_size: int) -> Fit:
    """Train the layer, in place, to reconstruct x from x̃ = x + noise·s·ε, s the deviation of x and ε ~ N(0, 1).

    The losses are mean squared errors of a number of x.
    """
    return Fit(fit_with_decoder(technique, task, batch_size)[1])


def fit_with_decoder(technique: Autoencoder, task: LayerTask, batch_size: int) -> tuple[Reconstruction, list[float]]:
    """Train a layer as an autoencoder, like `fit`; return the decoder and the loss of each epoch."""
    reconstruction = Reconstruction(task.layer, technique.tied_weights)
    optimizer = torch.optim.Adam(reconstruction.parameters(), lr=technique.lr)
    scale = technique.noise * task.inputs.std(0, correction=0)
    losses: list[float] = []
    for _ in task.epochs(technique.epochs):
        total = 0.0
        for rows in task.batches(batch_size):
            noisy = rows + scale * torch.randn_like(rows) if technique.noise else rows
            loss = nn.functional.mse_loss(reconstruction(noisy), rows)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(rows)
        losses.append(total / len(task.inputs))
        if not math.isfinite(total):
            break
    return reconstruction, losses
