"""The moving average of what is trained."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.catalog.averaging import ExponentialMovingAverage


class Average:
    """Of the parameters of a network; starts at what they are."""

    def __init__(self, technique: ExponentialMovingAverage, network: torch.nn.Module) -> None:
        self.technique, self.steps = technique, 0
        self._parameters = list(network.parameters())
        self._values = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take in what the parameters are after a step."""
        share = self.technique.share(self.steps)
        torch._foreach_lerp_(self._values, [parameter.detach() for parameter in self._parameters], 1 - share)
        self.steps += 1

    def copy(self) -> Average:
        """Of the same network, as it is now."""
        other = copy.copy(self)
        other._values = [value.clone() for value in self._values]
        return other

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
