"""Parameter-efficient fine-tuning: which weights above the cut are trained: all, low-rank updates, biases or norms.

Whatever is trained is delivered merged: a checkpoint is the plain network, and only trained tensors differ from the
backbone's. Adapters (Houlsby et al., 2019) are left out: a layer with a nonlinearity of its own cannot be merged into
a network's weights, and one without, beside a linear layer, is LoRA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from models.catalog.technique import Technique, by_name

if TYPE_CHECKING:
    from torch import nn

    from models.nn.low_rank import LowRankUpdate

LrScale = Annotated[float, Field(gt=0.0, le=1000.0)]


class Full(Technique):
    """Train all weights of the stages above the cut: w ← w - lr·g. Those of BatchNorm: see `cut.batch_norm`."""

    words: ClassVar[str] = "weight"
    lr_scale: ClassVar[float] = 1.0
    kind: Literal["full"] = "full"

    def selects(self, layer: nn.Module, name: str) -> bool:
        """Tell whether the parameter of this name of a layer is trained."""
        from torch.nn.modules.batchnorm import _BatchNorm

        return not isinstance(layer, _BatchNorm)

    def build_update(self, weight: nn.Parameter) -> None:
        """Build nothing: the weights themselves are trained."""


class LoRA(Technique):
    """Low-rank adaptation: W = W₀ + alpha/rank·B·A, of which A and B are trained (Hu et al., 2022; arXiv:2106.09685).

    W are the weights of linear layers, attention and convolutions as matrices (outputs, all else); A is random, B zero
    at the start. All else is frozen: biases, norms, embeddings, and weights that are smaller than A and B, such as
    those of depthwise convolutions. A checkpoint has W itself.
    """

    words: ClassVar[str] = "weight of a linear layer or convolution that is larger than a low-rank update of it"
    kind: Literal["lora"] = "lora"
    rank: Annotated[int, Field(ge=1, le=1024)] = 8
    """Rows of A, and columns of B: the rank that a weight's change has at most, before `averaging`."""
    alpha: Annotated[float, Field(gt=0.0, le=1e4)] = 16.0
    """The change is alpha/rank·B·A: of another rank, it is as large at the same learning rate."""
    lr_scale: LrScale = 5.0
    """Learning rate of A and B, as a multiple of that which the cut gives their stage."""

    def selects(self, layer: nn.Module, name: str) -> bool:
        """Tell whether the parameter of this name of a layer has an update."""
        from torch import nn
        from torch.nn.modules.conv import _ConvNd

        if not isinstance(layer, nn.Linear | _ConvNd | nn.MultiheadAttention):
            return False
        weight: nn.Parameter = getattr(layer, name)
        rows = len(weight)
        return weight.ndim > 1 and self.rank * (rows + weight.numel() // rows) < weight.numel()

    def build_update(self, weight: nn.Parameter) -> LowRankUpdate:
        """Build the update of a weight, from now on: B·A = 0."""
        from models.nn.low_rank import LowRankUpdate

        return LowRankUpdate(weight, self.rank, self.alpha / self.rank)


class BiasOnly(Technique):
    """Train the biases alone, those of norms included: b ← b - lr·g (BitFit; Zaken et al., 2022; arXiv:2106.10199)."""

    words: ClassVar[str] = "bias"
    kind: Literal["bias_only"] = "bias_only"
    lr_scale: LrScale = 10.0
    """Learning rate of the biases, as a multiple of that which the cut gives their stage."""

    def selects(self, layer: nn.Module, name: str) -> bool:
        """Tell whether the parameter of this name of a layer is a bias."""
        return name.endswith("bias") and getattr(layer, name).ndim == 1

    def build_update(self, weight: nn.Parameter) -> None:
        """Build nothing: the biases themselves are trained."""


class NormOnly(Technique):
    """Train the weights γ and biases β of norms alone: γ·x̂ + β (Frankle et al., 2021; arXiv:2003.00152)."""

    words: ClassVar[str] = "norm with weights"
    kind: Literal["norm_only"] = "norm_only"
    lr_scale: LrScale = 10.0
    """Learning rate of γ and β, as a multiple of that which the cut gives their stage."""

    def selects(self, layer: nn.Module, name: str) -> bool:
        """Tell whether the parameter of this name of a layer is a norm's."""
        # By name, since libraries have norms of their own: timm's RmsNorm, torchvision's LayerNorm2d, …
        return "norm" in type(layer).__name__.lower() and getattr(layer, name).ndim == 1

    def build_update(self, weight: nn.Parameter) -> None:
        """Build nothing: the weights themselves are trained."""


Tuning = Annotated[Full | LoRA | BiasOnly | NormOnly, Field(discriminator="kind"), by_name("full")]
