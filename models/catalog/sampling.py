"""Sampling: which training images an epoch goes through, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.catalog.technique import Technique, by_name

if TYPE_CHECKING:
    import torch


class Shuffled(Technique):
    """Shuffling: every image once, in a new random order each epoch; all n! orders have p = 1/n!."""

    kind: Literal["shuffled"] = "shuffled"

    def draw_order(self, targets: torch.Tensor) -> torch.Tensor:
        """Draw an epoch's image indices (n,), for targets (n,) or (n, C)."""
        import torch

        return torch.randperm(len(targets))


class Balanced(Technique):
    """Class-balanced sampling: n draws with replacement, p = 1/(classes · images of the class) (He & Garcia, 2009).

    An image with several labels counts as one of its rarest class.
    """

    kind: Literal["balanced"] = "balanced"

    def draw_order(self, targets: torch.Tensor) -> torch.Tensor:
        """Draw an epoch's image indices (n,), for targets (n,) or (n, C)."""
        import torch

        has = torch.nn.functional.one_hot(targets) if targets.ndim == 1 else targets
        weights = (has / has.sum(0).clamp_min(1)).amax(1)
        return torch.multinomial(weights.double(), len(targets), replacement=True)


Sampling = Annotated[Shuffled | Balanced, Field(discriminator="kind"), by_name("shuffled")]
