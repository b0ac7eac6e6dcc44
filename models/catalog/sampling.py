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

    def compute_probabilities(self, targets: torch.Tensor) -> torch.Tensor:
        """Compute the probability with which each image is drawn, (n,), for targets (n,) or (n, C)."""
        import torch

        return torch.full((len(targets),), 1 / len(targets), dtype=torch.float64)


class Balanced(Technique):
    """Class-balanced sampling: n draws with replacement, p = 1/(classes · images of the class) (He & Garcia, 2009).

    An image with several labels counts as one of its rarest class.
    """

    kind: Literal["balanced"] = "balanced"

    def draw_order(self, targets: torch.Tensor) -> torch.Tensor:
        """Draw an epoch's image indices (n,), for targets (n,) or (n, C)."""
        import torch

        return torch.multinomial(self.compute_probabilities(targets), len(targets), replacement=True)

    def compute_probabilities(self, targets: torch.Tensor) -> torch.Tensor:
        """Compute the probability with which each image is drawn, (n,), for targets (n,) or (n, C)."""
        if targets.ndim == 1:
            weights = 1 / targets.bincount()[targets].double()
        else:
            weights = (targets / targets.sum(0).clamp_min(1)).amax(1).double()
        return weights / weights.sum()


Sampling = Annotated[Shuffled | Balanced, Field(discriminator="kind"), by_name("shuffled")]
