"""Initializers: distributions of a new layer's initial weights. Biases start at zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models.catalog.technique import Positive, Technique, by_name

if TYPE_CHECKING:
    import torch


class Normal(Technique):
    """Normal with a fixed deviation: W ~ N(0, std²) at any width. A historic baseline that saturates deep networks."""

    kind: Literal["normal"] = "normal"
    std: Positive = 1.0
    """Standard deviation of the weights."""

    def apply(self, weight: torch.Tensor) -> None:
        """Fill `weight` (outputs, inputs) in place."""
        import torch

        torch.nn.init.normal_(weight, std=self.std)


class GlorotUniform(Technique):
    """Glorot uniform: W ~ U(-r, r), r = √(6 / (inputs + outputs)) (Glorot & Bengio, 2010)."""

    kind: Literal["glorot_uniform"] = "glorot_uniform"

    def apply(self, weight: torch.Tensor) -> None:
        """Fill `weight` (outputs, inputs) in place."""
        import torch

        torch.nn.init.xavier_uniform_(weight)


class GlorotNormal(Technique):
    """Glorot normal: W ~ N(0, 2 / (inputs + outputs)) (Glorot & Bengio, 2010)."""

    kind: Literal["glorot_normal"] = "glorot_normal"

    def apply(self, weight: torch.Tensor) -> None:
        """Fill `weight` (outputs, inputs) in place."""
        import torch

        torch.nn.init.xavier_normal_(weight)


class HeUniform(Technique):
    """He uniform: W ~ U(-r, r), r = √(6 / inputs) (He et al., 2015)."""

    kind: Literal["he_uniform"] = "he_uniform"

    def apply(self, weight: torch.Tensor) -> None:
        """Fill `weight` (outputs, inputs) in place."""
        import torch

        torch.nn.init.kaiming_uniform_(weight, nonlinearity="relu")


class HeNormal(Technique):
    """He normal: W ~ N(0, 2 / inputs) (He et al., 2015)."""

    kind: Literal["he_normal"] = "he_normal"

    def apply(self, weight: torch.Tensor) -> None:
        """Fill `weight` (outputs, inputs) in place."""
        import torch

        torch.nn.init.kaiming_normal_(weight, nonlinearity="relu")


class LecunNormal(Technique):
    """LeCun normal: W ~ N(0, 1 / inputs) (LeCun et al., 1998)."""

    kind: Literal["lecun_normal"] = "lecun_normal"

    def apply(self, weight: torch.Tensor) -> None:
        """Fill `weight` (outputs, inputs) in place."""
        import torch

        torch.nn.init.kaiming_normal_(weight, nonlinearity="linear")


class Orthogonal(Technique):
    """Orthogonal: W·Wᵀ = gain²·I, or WᵀW = gain²·I with more outputs than inputs (Saxe et al., 2014)."""

    kind: Literal["orthogonal"] = "orthogonal"
    gain: Positive = 1.0
    """L2 norm of the rows, or of the columns with more outputs than inputs."""

    def apply(self, weight: torch.Tensor) -> None:
        """Fill `weight` (outputs, inputs) in place."""
        import torch

        torch.nn.init.orthogonal_(weight, self.gain)


Initializer = Annotated[
    Normal | GlorotUniform | GlorotNormal | HeUniform | HeNormal | LecunNormal | Orthogonal,
    Field(discriminator="kind"),
    by_name("glorot_uniform"),
]
