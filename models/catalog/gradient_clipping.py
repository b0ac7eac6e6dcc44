"""Gradient clipping: limits the size of gradients, so that one bad batch cannot ruin the weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.catalog.technique import Positive, Technique, by_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


class ByValue(Technique):
    """Clip each component: gᵢ ← min(max(gᵢ, -limit), limit); the direction may change (Mikolov, 2012)."""

    kind: Literal["by_value"] = "by_value"
    limit: Positive = 1.0
    """Largest absolute value of a component of the gradient."""

    def clip(self, parameters: Sequence[torch.nn.Parameter]) -> bool:
        """Clip the gradients in place; return whether any component was too large."""
        import torch

        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        is_too_large = bool(torch.nn.utils.get_total_norm(gradients, math.inf) > self.limit)
        if is_too_large:
            torch.nn.utils.clip_grad_value_(parameters, self.limit)
        return is_too_large


class ByNorm(Technique):
    """Clip the norm of all gradients together: g ← g·min(1, limit/‖g‖₂); the direction stays (Pascanu et al., 2013)."""

    kind: Literal["by_norm"] = "by_norm"
    limit: Positive = 1.0
    """Largest L2 norm of the gradient over all trained weights."""

    def clip(self, parameters: Sequence[torch.nn.Parameter]) -> bool:
        """Clip the gradients in place; return whether their norm was too large."""
        import torch

        return bool(torch.nn.utils.clip_grad_norm_(parameters, self.limit) > self.limit)


Clipping = Annotated[ByValue | ByNorm, Field(discriminator="kind"), by_name("by_norm")]
