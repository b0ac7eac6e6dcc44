"""Activations: what a unit of a new layer makes of its weighted sum, and the initializer that suits it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from models.catalog.initializers import GlorotUniform, HeNormal, Initializer, LecunNormal
from models.catalog.technique import Positive, Technique, by_name

if TYPE_CHECKING:
    import torch


class _Activation(Technique):
    initializer: ClassVar[Initializer]
    """What `auto` pairs it with."""


class Sigmoid(_Activation):
    """σ(z) = 1 / (1 + e⁻ᶻ): saturates on both sides, its slope is at most 1/4."""

    initializer = GlorotUniform()
    kind: Literal["sigmoid"] = "sigmoid"

    def build(self) -> torch.nn.Module:
        """The activation, elementwise."""
        import torch

        return torch.nn.Sigmoid()


class Tanh(_Activation):
    """tanh(z) = 2σ(2z) - 1: saturates on both sides, centred at zero (LeCun et al., 1998)."""

    initializer = GlorotUniform()
    kind: Literal["tanh"] = "tanh"

    def build(self) -> torch.nn.Module:
        """The activation, elementwise."""
        import torch

        return torch.nn.Tanh()


class ReLU(_Activation):
    """max(0, z): cheap, never saturates above; a unit that is always below zero is dead (Nair & Hinton, 2010)."""

    initializer = HeNormal()
    kind: Literal["relu"] = "relu"

    def build(self) -> torch.nn.Module:
        """The activation, elementwise."""
        import torch

        return torch.nn.ReLU()


class LeakyReLU(_Activation):
    """max(slope·z, z): never dies (Maas et al., 2013)."""

    initializer = HeNormal()
    kind: Literal["leaky_relu"] = "leaky_relu"
    slope: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.01
    """Slope below zero."""

    def build(self) -> torch.nn.Module:
        """The activation, elementwise."""
        import torch

        return torch.nn.LeakyReLU(self.slope)


class RReLU(_Activation):
    """max(slope·z, z), its slope drawn anew from U(lower, upper) in training, their mean after (Xu et al., 2015)."""

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
        """The activation, elementwise."""
        import torch

        return torch.nn.RReLU(self.lower, self.upper)


class PReLU(_Activation):
    """max(slope·z, z), its slope learned, one for the layer (He et al., 2015)."""

    initializer = HeNormal()
    kind: Literal["prelu"] = "prelu"
    slope: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.25
    """Slope below zero before training."""

    def build(self) -> torch.nn.Module:
        """The activation, elementwise."""
        import torch

        return torch.nn.PReLU(init=self.slope)


class ELU(_Activation):
    """z above zero, alpha·(eᶻ - 1) below: smooth, its mean nearer to zero (Clevert et al., 2016)."""

    initializer = HeNormal()
    kind: Literal["elu"] = "elu"
    alpha: Positive = 1.0
    """What it tends to far below zero, negated."""

    def build(self) -> torch.nn.Module:
        """The activation, elementwise."""
        import torch

        return torch.nn.ELU(self.alpha)


class SELU(_Activation):
    """1.0507·ELU(alpha = 1.6733): keeps mean 0 and variance 1 from layer to layer (Klambauer et al., 2017)."""

    initializer = LecunNormal()
    kind: Literal["selu"] = "selu"

    def build(self) -> torch.nn.Module:
        """The activation, elementwise."""
        import torch

        return torch.nn.SELU()


class GELU(_Activation):
    """z·Φ(z), Φ the normal distribution's (Hendrycks & Gimpel, 2016)."""

    initializer = HeNormal()
    kind: Literal["gelu"] = "gelu"

    def build(self) -> torch.nn.Module:
        """The activation, elementwise."""
        import torch

        return torch.nn.GELU()


class SiLU(_Activation):
    """z·σ(z), also called swish (Elfwing et al., 2018)."""

    initializer = HeNormal()
    kind: Literal["silu"] = "silu"

    def build(self) -> torch.nn.Module:
        """The activation, elementwise."""
        import torch

        return torch.nn.SiLU()


Activation = Annotated[
    Sigmoid | Tanh | ReLU | LeakyReLU | RReLU | PReLU | ELU | SELU | GELU | SiLU,
    Field(discriminator="kind"),
    by_name("relu"),
]
