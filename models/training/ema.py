"""The moving average of what is trained."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.catalog.weight_averaging import ExponentialMovingAverage


class Average:
    """Of the parameters of a network; starts at what they are."""

    def __init__(self, technique: ExponentialMovingAverage, network: torch.nn.Module) -> None:
        self.technique, self.steps = technique, 0
        self._parameters = list(network.parameters())
        self._values = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in what the parameters are after a step."""
        share = self.technique.compute_decay(self.steps)
        torch._foreach_lerp_(self._values, [parameter.detach() for parameter in self._parameters], 1 - share)
        self.steps += 1

    def state(self) -> dict[str, Any]:
        """What it is now; its tensors go on changing."""
        return {"steps": self.steps, "values": self._values}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state()` gave."""
        self.steps = state["steps"]
        for value, was in zip(self._values, state["values"], strict=True):
            value.copy_(was)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """For a while the network has the averages for its parameters."""
        own = [parameter.detach().clone() for parameter in self._parameters]
        self._set(self._values)
        try:
            yield
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, values: list[torch.Tensor]) -> None:
        torch._foreach_copy_([parameter.detach() for parameter in self._parameters], values)
