"""Sampling: the order in which an epoch goes through the images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.catalog.technique import Technique, by_name

if TYPE_CHECKING:
    import torch


class Shuffled(Technique):
    """Every image once, in a new random order each epoch: each of the n! orders has p = 1/n!."""

    kind: Literal["shuffled"] = "shuffled"

    def order(self, targets: torch.Tensor) -> torch.Tensor:
        """Places of images, (n,), for targets (n,) or (n, C)."""
        import torch

        return torch.randperm(len(targets))


class Balanced(Technique):
    """n draws with replacement, p = 1 / (classes · images of the class): all classes as often (He & Garcia, 2009).

    An image with several labels counts for its rarest.
    """

    kind: Literal["balanced"] = "balanced"

    def order(self, targets: torch.Tensor) -> torch.Tensor:
        """Places of images, (n,), for targets (n,) or (n, C)."""
        import torch

        has = torch.nn.functional.one_hot(targets) if targets.ndim == 1 else targets
        weights = (has / has.sum(0).clamp_min(1)).amax(1)
        return torch.multinomial(weights.double(), len(targets), replacement=True)


Sampling = Annotated[Shuffled | Balanced, Field(discriminator="kind"), by_name("shuffled")]
