"""Exponential moving average of weights, and of the statistics of BatchNorm that belong to them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.catalog.weight_averaging import ExponentialMovingAverage


class MovingAverage:
    """Exponential moving average of a network's parameters and of BatchNorm's statistics; starts at their values."""

    def __init__(self, technique: ExponentialMovingAverage, network: torch.nn.Module) -> None:
        self.technique, self.steps = technique, 0
        self._averaged = [*(parameter.detach() for parameter in network.parameters()), *_find_statistics(network)]
        self._values = [tensor.clone() for tensor in self._averaged]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the present values, after a step."""
        share = self.technique.compute_decay(self.steps)
        torch._foreach_lerp_(self._values, self._averaged, 1 - share)
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """State to resume from: the average and its step count; its tensors are shared, not copied."""
        return {"steps": self.steps, "values": self._values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict()` gave."""
        self.steps = state["steps"]
        for value, saved in zip(self._values, state["values"], strict=True):
            value.copy_(saved)

    @contextmanager
    def swap_in(self) -> Iterator[None]:
        """Swap the averaged weights into the network until the `with` block ends."""
        own = [tensor.clone() for tensor in self._averaged]
        self._set(self._values)
        try:
            yield
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, values: list[torch.Tensor]) -> None:
        torch._foreach_copy_(self._averaged, values)


def _find_statistics(network: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Find the running means and variances of BatchNorm."""
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            yield from (module.running_mean, module.running_var)
