"""Gradient clipping: keeps one bad batch from throwing the weights away."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.catalog.technique import Positive, Technique, by_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


class ByValue(Technique):
    """gᵢ ← min(max(gᵢ, -limit), limit), number by number: the gradient's direction may change (Mikolov, 2012)."""

    kind: Literal["by_value"] = "by_value"
    limit: Positive = 1.0
    """Largest size of one number."""

    def clip(self, parameters: Sequence[torch.nn.Parameter]) -> bool:
        """Clip the gradients of parameters that have one; says whether any was too large."""
        import torch

        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        is_too_large = bool(torch.nn.utils.get_total_norm(gradients, math.inf) > self.limit)
        if is_too_large:
            torch.nn.utils.clip_grad_value_(parameters, self.limit)
        return is_too_large


class ByNorm(Technique):
    """g ← g·min(1, limit/‖g‖₂), over all numbers together: the direction stays (Pascanu et al., 2013)."""

    kind: Literal["by_norm"] = "by_norm"
    limit: Positive = 1.0
    """Largest length of the whole gradient."""

    def clip(self, parameters: Sequence[torch.nn.Parameter]) -> bool:
        """Clip the gradients of parameters that have one; says whether they were too large."""
        import torch

        return bool(torch.nn.utils.clip_grad_norm_(parameters, self.limit) > self.limit)


Clipping = Annotated[ByValue | ByNorm, Field(discriminator="kind"), by_name("by_norm")]
