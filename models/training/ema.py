"""Exponential moving average of weights."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.catalog.weight_averaging import ExponentialMovingAverage


class MovingAverage:
    """Exponential moving average of a network's parameters; starts at their values."""

    def __init__(self, technique: ExponentialMovingAverage, network: torch.nn.Module) -> None:
        self.technique, self.steps = technique, 0
        self._parameters = list(network.parameters())
        self._values = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the parameters, after a step."""
        share = self.technique.compute_decay(self.steps)
        torch._foreach_lerp_(self._values, [parameter.detach() for parameter in self._parameters], 1 - share)
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
        own = [parameter.detach().clone() for parameter in self._parameters]
        self._set(self._values)
        try:
            yield
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, values: list[torch.Tensor]) -> None:
        torch._foreach_copy_([parameter.detach() for parameter in self._parameters], values)
