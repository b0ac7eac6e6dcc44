"""Activations: nonlinear functions of an MLP head's hidden units, each with the weight initializer that suits it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from models.catalog.initializers import GlorotUniform, HeNormal, Initializer, LecunNormal
from models.catalog.technique import Positive, Technique, by_name

if TYPE_CHECKING:
    import torch


class _Activation(Technique):
    initializer: ClassVar[Initializer]
    """Weight initializer that `auto` pairs with this activation."""


class Sigmoid(_Activation):
    """Logistic sigmoid, σ(z) = 1 / (1 + e⁻ᶻ): saturates on both sides; its slope is at most 1/4."""

    initializer = GlorotUniform()
    kind: Literal["sigmoid"] = "sigmoid"

    def build(self) -> torch.nn.Module:
        """Build the elementwise activation."""
        import torch

        return torch.nn.Sigmoid()


class Tanh(_Activation):
    """Hyperbolic tangent, tanh(z) = 2σ(2z) - 1: saturates on both sides, centred at zero (LeCun et al., 1998)."""

    initializer = GlorotUniform()
    kind: Literal["tanh"] = "tanh"

    def build(self) -> torch.nn.Module:
        """Build the elementwise activation."""
        import torch

        return torch.nn.Tanh()


class ReLU(_Activation):
    """Rectified linear unit, max(0, z): cheap, and does not saturate above zero (Nair & Hinton, 2010).

    A unit whose input is below zero for every image gets no gradient: it is dead.
    """

    initializer = HeNormal()
    kind: Literal["relu"] = "relu"

    def build(self) -> torch.nn.Module:
        """Build the elementwise activation."""
        import torch

        return torch.nn.ReLU()


class LeakyReLU(_Activation):
    """Leaky ReLU, max(slope·z, z): a gradient below zero too, so that no unit dies (Maas et al., 2013)."""

    initializer = HeNormal()
    kind: Literal["leaky_relu"] = "leaky_relu"
    slope: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.01
    """Slope below zero."""

    def build(self) -> torch.nn.Module:
        """Build the elementwise activation."""
        import torch

        return torch.nn.LeakyReLU(self.slope)


class RReLU(_Activation):
    """Randomized leaky ReLU, max(slope·z, z) (Xu et al., 2015).

    In training, slope ~ U(lower, upper), drawn for every value; in evaluation, slope = (lower + upper)/2.
    """

    initializer = HeNormal()
    kind: Literal["rrelu"] = "rrelu"
    lower: Annotated[float, Field(ge=0.0, lt=1.0)] = 1 / 8
    """Smallest slope below zero."""
    upper: Annotated[float, Field(gt=0.0, lt=1.0)] = 1 / 3
    """Largest slope below zero."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.lower > self.upper:
            raise ValueError(f"lower is {self.lower}, above upper, which is {self.upper}: exchange them")
        return self

    def build(self) -> torch.nn.Module:
        """Build the elementwise activation."""
        import torch

        return torch.nn.RReLU(self.lower, self.upper)


class PReLU(_Activation):
    """Parametric ReLU, max(slope·z, z), with one learned slope per layer (He et al., 2015)."""

    initializer = HeNormal()
    kind: Literal["prelu"] = "prelu"
    slope: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.25
    """Slope below zero before the first step."""

    def build(self) -> torch.nn.Module:
        """Build the elementwise activation."""
        import torch

        return torch.nn.PReLU(init=self.slope)


class ELU(_Activation):
    """Exponential linear unit: z above zero, alpha·(eᶻ - 1) below; smooth, mean near zero (Clevert et al., 2016)."""

    initializer = HeNormal()
    kind: Literal["elu"] = "elu"
    alpha: Positive = 1.0
    """Size of the negative part, which tends to -alpha."""

    def build(self) -> torch.nn.Module:
        """Build the elementwise activation."""
        import torch

        return torch.nn.ELU(self.alpha)


class SELU(_Activation):
    """Scaled ELU, 1.0507·ELU(alpha = 1.6733): keeps mean 0 and variance 1 across layers (Klambauer et al., 2017)."""

    initializer = LecunNormal()
    kind: Literal["selu"] = "selu"

    def build(self) -> torch.nn.Module:
        """Build the elementwise activation."""
        import torch

        return torch.nn.SELU()


class GELU(_Activation):
    """Gaussian error linear unit, z·Φ(z), Φ the normal distribution function (Hendrycks & Gimpel, 2016)."""

    initializer = HeNormal()
    kind: Literal["gelu"] = "gelu"

    def build(self) -> torch.nn.Module:
        """Build the elementwise activation."""
        import torch

        return torch.nn.GELU()


class SiLU(_Activation):
    """Sigmoid linear unit, or swish: z·σ(z) (Elfwing et al., 2018)."""

    initializer = HeNormal()
    kind: Literal["silu"] = "silu"

    def build(self) -> torch.nn.Module:
        """Build the elementwise activation."""
        import torch

        return torch.nn.SiLU()


Activation = Annotated[
    Sigmoid | Tanh | ReLU | LeakyReLU | RReLU | PReLU | ELU | SELU | GELU | SiLU,
    Field(discriminator="kind"),
    by_name("relu"),
]
