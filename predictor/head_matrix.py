"""Matrix of the linear heads of one trunk, one below the other, so that one product answers for many of them."""

from __future__ import annotations

import mmap
from collections import defaultdict, deque
from typing import TYPE_CHECKING, NamedTuple

import torch

from predictor import packed_matrix

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from predictor.packed_matrix import PackedMatrix

ROWS = 4096
"""Rows of a block of heads. A larger one would be packed again for longer after each head that is added, and each block
costs a product of its own (0.1 ms)."""


class Block:
    """Some heads, one below the other: a weight (rows, D) and a bias (rows,)."""

    def __init__(self, rows: int, num_features: int, device: torch.device) -> None:
        self.weight = _reserve(rows, num_features, device)
        self.bias = torch.zeros(rows, device=device)
        self.used = 0
        self.heads = 0
        self._version = 0
        self._packed: tuple[int, PackedMatrix | None] = (-1, None)
        """The copy in half precision, and the version of the rows that it was made of."""

    @property
    def bytes(self) -> int:
        """Bytes of the rows and of their copy."""
        packed = self._packed[1]
        of_rows = 4 * self.used * (self.weight.shape[1] + 1)
        return of_rows + (0 if packed is None else packed.bytes)

    def write(self, start: int, linear: nn.Linear) -> None:
        """Copy a head to its rows."""
        stop = start + linear.out_features
        self.weight[start:stop].copy_(linear.weight.detach())
        self.bias[start:stop].copy_(linear.bias.detach())
        self._version += 1  # last: who packs meanwhile, in another thread, packs again for the next plan

    def multiply_rows(self, features: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Multiply features (D,) with some rows (n,) of a matrix on the CPU, in single precision: (n,).

        By numpy, which takes half as long as PyTorch for some dozens of rows.
        """
        products: np.ndarray = self.weight.numpy()[rows] @ features + self.bias.numpy()[rows]
        return products

    def pack(self) -> PackedMatrix | None:
        """Get the copy of the used rows in half precision; None where there can be none."""
        version, used = self._version, self.used
        if self._packed[0] != version:
            self._packed = version, packed_matrix.pack(self.weight[:used], self.bias[:used])
        return self._packed[1]


class Rows(NamedTuple):
    """Rows of a block that are one head."""

    block: Block
    start: int
    stop: int


def multiply(values: torch.Tensor, head: Rows) -> torch.Tensor:
    """Multiply features (…, D) with a head, in single precision: its logits (…, C)."""
    rows = slice(head.start, head.stop)
    return torch.nn.functional.linear(values, head.block.weight[rows], head.block.bias[rows])


class HeadMatrix:
    """Linear heads of one trunk."""

    def __init__(self, num_features: int, device: torch.device) -> None:
        self._num_features, self._device = num_features, device
        self._blocks: list[Block] = []
        self._free: dict[int, list[Rows]] = defaultdict(list)
        """Rows of removed heads, by their number."""
        self._released: deque[Rows] = deque()
        """Rows whose model is no longer used, not yet free: any thread may release them."""

    @property
    def bytes(self) -> int:
        """Bytes of all blocks that have a head that is used."""
        self._reuse_released()
        return sum(block.bytes for block in self._blocks)

    def add(self, linear: nn.Linear) -> Rows:
        """Copy a head into the matrix."""
        self._reuse_released()
        rows = self._take(linear.out_features)
        rows.block.write(rows.start, linear)
        rows.block.heads += 1
        return rows

    def release(self, rows: Rows) -> None:
        """Release the rows of a head that no request uses any more."""
        self._released.append(rows)

    def _reuse_released(self) -> None:
        while self._released:
            self._reuse(self._released.popleft())

    def _reuse(self, rows: Rows) -> None:
        rows.block.heads -= 1
        if rows.block.heads:
            self._free[rows.stop - rows.start].append(rows)
            return
        self._blocks.remove(rows.block)
        for count, free in self._free.items():
            self._free[count] = [other for other in free if other.block is not rows.block]

    def _take(self, count: int) -> Rows:
        if self._free[count]:
            return self._free[count].pop()
        block = next((block for block in self._blocks if block.used + count <= len(block.bias)), None)
        if block is None:
            block = Block(max(count, ROWS), self._num_features, self._device)
            self._blocks.append(block)
        block.used += count
        return Rows(block, block.used - count, block.used)


def _reserve(rows: int, num_features: int, device: torch.device) -> torch.Tensor:
    """Reserve a matrix (rows, D); on the CPU its rows take memory only when they are written."""
    if device.type != "cpu":
        return torch.zeros(rows, num_features, device=device)
    pages = mmap.mmap(-1, 4 * rows * num_features)
    return torch.frombuffer(pages, dtype=torch.float32).reshape(rows, num_features)
