"""Perturbation of weights for sharpness-aware minimization: moved up their gradients for a second pass, then back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from models.nn.low_rank import LowRankUpdate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models.catalog.sharpness import Sharpness


@contextmanager
def perturb(sharpness: Sharpness, network: torch.nn.Module, parameters: Sequence[torch.nn.Parameter]) -> Iterator[None]:
    """Move `parameters` up the gradients that they have, until the `with` block ends.

    Afterwards they are what they were, to the bit, and so are the statistics of the network's BatchNorm: the batch has
    changed them already. Gradients stay those that the block has computed.
    """
    trained = [parameter.detach() for parameter in parameters if parameter.grad is not None]
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    held = [*trained, *_find_statistics(network)]
    own = [tensor.clone() for tensor in held]
    torch._foreach_add_(trained, sharpness.compute_ascent(trained, gradients))
    _merge_updates(network)
    try:
        yield
    finally:
        for tensor, value in zip(held, own, strict=True):
            tensor.copy_(value)
        _merge_updates(network)


def _merge_updates(network: torch.nn.Module) -> None:
    """Merge low-rank updates whose factors have moved into the weights that layers compute with."""
    for module in network.modules():
        if isinstance(module, LowRankUpdate):
            module.merge()


def _find_statistics(network: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Find the statistics of BatchNorm that a pass in training changes."""
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.training:
            yield from module.buffers(recurse=False)
