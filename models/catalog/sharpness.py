"""Sharpness-aware minimization: steps by the gradient where weights nearby are worst, which leads to flat minima."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.catalog.technique import Positive, Technique, by_name

if TYPE_CHECKING:
    import torch

TINY = 1e-12
"""Keeps the division finite where all gradients are zero."""


class SAM(Technique):
    """Sharpness-aware minimization: steps by the gradient of the loss at w + e, e = rho·g/‖g‖₂ (Foret et al., 2021).

    g is the gradient at w, over all trained weights together. Each step takes two passes through what is trained. The
    optimizer, gradient clipping and regularizers act on w as without it. arXiv:2010.01412.
    """

    kind: Literal["sam"] = "sam"
    rho: Positive = 0.05
    """Distance at which the gradient is taken."""

    def compute_ascent(self, weights: list[torch.Tensor], gradients: list[torch.Tensor]) -> list[torch.Tensor]:
        """Compute e for each of the weights."""
        import torch

        factor = self.rho / (torch.nn.utils.get_total_norm(gradients) + TINY)
        return list(torch._foreach_mul(gradients, factor))


class ASAM(Technique):
    """Adaptive SAM: e = rho·T²g/‖T·g‖₂ with T = |w| + eta, so that scales of layers do not matter (Kwon et al., 2021).

    T is 1 for biases and the weights of normalizations. arXiv:2102.11600.
    """

    kind: Literal["asam"] = "asam"
    rho: Positive = 0.5
    """Distance at which the gradient is taken, in multiples of the weights."""
    eta: Positive = 0.01
    """Lets weights near zero be changed too."""

    def compute_ascent(self, weights: list[torch.Tensor], gradients: list[torch.Tensor]) -> list[torch.Tensor]:
        """Compute e for each of the weights."""
        import torch

        scales = [weight.abs() + self.eta if weight.ndim > 1 else torch.ones_like(weight) for weight in weights]
        scaled = [gradient * scale for gradient, scale in zip(gradients, scales, strict=True)]
        factor = self.rho / (torch.nn.utils.get_total_norm(scaled) + TINY)
        return [change * scale * factor for change, scale in zip(scaled, scales, strict=True)]


Sharpness = Annotated[SAM | ASAM, Field(discriminator="kind"), by_name("sam")]
