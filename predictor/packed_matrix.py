"""Products with a matrix that is kept in half precision, so that half as many bytes are read for each image.

One image with a thousand heads is bound by memory: 10,000 rows of 1,280 numbers took 3.4 ms in single precision
(PyTorch on 2 cores), and take 0.3 to 0.8 ms so. Inputs and sums are in single precision (FBGEMM, which PyTorch has on
x86).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from typing import Any

GREATEST = torch.finfo(torch.float16).max

POSSIBLE = 8.0
"""Standard deviations of a product's rounding that are taken to be possible. The rounding e·x of a row is a sum of D
numbers with random signs, whose standard deviation |e∘x|₂ is at most |e|₄·|x|₄ (Cauchy and Schwarz on the squares)."""


@cache
def is_available() -> bool:
    """Tell whether PyTorch has such products on this machine."""
    return "fbgemm" in torch.backends.quantized.supported_engines


class PackedMatrix:
    """A matrix (rows, D), and what is added to each row's product."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Pack a copy of a matrix, all of whose numbers are within half precision's range."""
        self._packed: Any = torch.ops.quantized.linear_prepack_fp16(weight, bias)
        self.bytes = 2 * weight.numel()
        roundings = (part.half().float() - part for part in torch.split(weight, 256))  # little memory at a time
        self.errors: torch.Tensor = POSSIBLE * torch.cat(
            [torch.linalg.vector_norm(each, ord=4, dim=1) for each in roundings]
        )
        """Of each row, (rows,): a product is taken to be wrong by at most this times `measure_lengths` of the input."""

    def multiply(self, inputs: torch.Tensor) -> torch.Tensor:
        """Multiply inputs (B, D) with the matrix: (B, rows)."""
        product: torch.Tensor = torch.ops.quantized.linear_dynamic_fp16(inputs, self._packed)
        return product


def pack(weight: torch.Tensor, bias: torch.Tensor) -> PackedMatrix | None:
    """Pack a matrix; None where that is not possible."""
    if weight.device.type != "cpu" or not is_available() or not bool(weight.abs().max() < GREATEST):
        return None
    return PackedMatrix(weight, bias)


def measure_lengths(inputs: np.ndarray) -> np.ndarray:
    """Measure inputs (B, D) for the rounding of their products: |x|₄, (B,)."""
    lengths: np.ndarray = np.sqrt(np.sqrt(np.square(np.square(inputs)).sum(1)))
    return lengths
