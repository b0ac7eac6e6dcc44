"""Layers that torch lacks, or has slower."""

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


class Dropout(torch.nn.Dropout):
    """Dropout whose mask is drawn sixteen bits a number, in a fifth of torch's time on processors.

    p counts in steps of 2⁻¹⁶. Inverted, as torch's: what is kept is divided by 1 - p (Srivastava et al., 2014).
    """

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """(…) → (…), with numbers zeroed in training."""
        dropped = min(round(self.p * 2**16), 2**16 - 1)
        if not self.training or dropped == 0 or rows.device.type != "cpu":
            return super().forward(rows)
        bits = torch.empty(-(-rows.numel() // 4), dtype=torch.int64).random_(torch.iinfo(torch.int64).min, None)
        kept = bits.view(torch.int16)[: rows.numel()].view(rows.shape) >= dropped - 2**15
        return rows * kept * (2**16 / (2**16 - dropped))
