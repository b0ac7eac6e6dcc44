"""Adaptation of BatchNorm to new images: its statistics above the cut are estimated anew, once (AdaBN).

Statistics of the pretraining's images do not fit images of another kind (Li et al., 2018, arXiv:1603.04779). Mean and
variance of a norm's input are those over all positions of all images, pooled, in double precision. They are found in
one pass, in which each norm normalizes by the statistics of the batch: of the lowest norms they are exact, and of those
above them they would be if all images were one batch.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from models.runtime.micro_batches import MicroBatches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.features.sources import FeatureSource
    from models.networks.cut_network import CutNetwork


def find_norms(cut_network: CutNetwork) -> list[_BatchNorm]:
    """Find the BatchNorm layers above the cut that have statistics; one that the trunk uses too is none of them."""
    below = set() if cut_network.trunk is None else set(cut_network.trunk.modules())
    above = (module for module in cut_network.top.modules() if isinstance(module, _BatchNorm))
    return [norm for norm in above if norm not in below and norm.running_mean is not None]


def adapt_batch_norm(cut_network: CutNetwork, source: FeatureSource, images: np.ndarray) -> Iterator[int]:
    """Estimate the statistics of BatchNorm above the cut on the plain views of images; yields each batch's size."""
    top = cut_network.top.to(source.trunk.device).eval()
    micro_batches = MicroBatches()

    def forward(inputs: torch.Tensor, count: int) -> None:
        for estimate in estimates:
            estimate.start_batch()
        for part in inputs.tensor_split(count):
            top(source.forward_trunk(part))

    with _estimating(find_norms(cut_network)) as estimates:
        # As many in each batch: of one image alone, many a norm would find no variance.
        for batch in np.array_split(images, math.ceil(len(images) / source.read_batch_size)):
            ((_, rows),) = source.read_batches(batch, 0, len(batch))
            inputs = source.to_input(rows)
            with torch.no_grad():
                micro_batches.run(partial(forward, inputs), len(inputs))
            for estimate in estimates:
                estimate.end_batch()
            yield len(batch)
    for estimate in estimates:
        estimate.apply()


@contextmanager
def _estimating(norms: list[_BatchNorm]) -> Iterator[list[_Estimate]]:
    """Observe the inputs of norms until the `with` block ends."""
    estimates = [_Estimate(norm) for norm in norms]
    try:
        yield estimates
    finally:
        for estimate in estimates:
            estimate.remove()


class _Estimate:
    """Mean and variance of the inputs of a norm, which it normalizes by those of each input by itself meanwhile."""

    def __init__(self, norm: _BatchNorm) -> None:
        self.norm = norm
        self._hook = norm.register_forward_pre_hook(self._observe)
        self._sums = self._of_batch = torch.zeros(3, norm.num_features, dtype=torch.float64)

    def start_batch(self) -> None:
        """Start a batch, or the same one again where memory was short."""
        self._of_batch = torch.zeros_like(self._sums)

    def end_batch(self) -> None:
        """Count the batch in."""
        self._sums = self._sums + self._of_batch

    def remove(self) -> None:
        """Leave the norm alone from now on."""
        self._hook.remove()

    def apply(self) -> None:
        """Set the norm's statistics: of n numbers, mean = Σx/n and variance = (Σx² - n·mean²)/(n - 1), as torch's."""
        count, total, squares = self._sums
        mean = total / count
        self._set(mean, (squares - count * mean.square()) / (count - 1).clamp_min(1))

    def _observe(self, _: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        rows = inputs[0].detach().double().movedim(1, 0).flatten(1)  # (C, n)
        total, squares = rows.sum(1), rows.square().sum(1)
        count = torch.full_like(total, rows.shape[1])
        self._of_batch += torch.stack([count, total, squares]).cpu()
        mean = total / count
        self._set(mean, squares / count - mean.square())

    def _set(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        self.norm.running_mean.copy_(mean)
        self.norm.running_var.copy_(variance.clamp_min(0))
