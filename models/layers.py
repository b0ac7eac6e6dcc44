"""A parametrization that torch lacks."""

from __future__ import annotations

import torch


class RowsOfLength(torch.nn.Module):
    """Parametrizes a weight (outputs, inputs): each row has the direction of the free one, and a fixed length."""

    def __init__(self, length: float) -> None:
        super().__init__()
        self.length = length

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight that the layer uses."""
        return self.length * torch.nn.functional.normalize(weight, dim=1)
