"""Optimizers: how the gradient moves the weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat

from models.catalog.technique import Technique

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

Rate = PositiveFloat | Literal["auto"]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]


class _Optimizer(Technique):
    lr_by_features: ClassVar[float]
    """The recommended learning rate times the number of features: one step moves all their weights at once."""
    most_lr: ClassVar[float] = math.inf

    lr: Rate = "auto"
    """Learning rate; auto: by the number of standardized features that the head reads, the rate that suits them."""

    def resolve(self, num_features: int) -> Self:
        """The same with its learning rate known."""
        if self.lr != "auto":
            return self
        return self.model_copy(update={"lr": min(self.lr_by_features / num_features, self.most_lr)})

    @property
    def rate(self) -> float:
        """The learning rate of a resolved technique."""
        assert self.lr != "auto"
        return self.lr


class SGD(_Optimizer):
    """Stochastic gradient descent: w ← w - lr·g (Robbins & Monro, 1951)."""

    lr_by_features = 10.0
    kind: Literal["sgd"] = "sgd"

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer over `parameters`."""
        import torch

        return torch.optim.SGD(parameters, lr=self.rate)


class Momentum(_Optimizer):
    """Heavy-ball momentum: v ← momentum·v + g; w ← w - lr·v (Polyak, 1964)."""

    lr_by_features = 1.0
    kind: Literal["momentum"] = "momentum"
    momentum: Decay = 0.9
    """Share of the velocity that one step keeps."""

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer over `parameters`."""
        import torch

        return torch.optim.SGD(parameters, lr=self.rate, momentum=self.momentum)


class Nesterov(_Optimizer):
    """Nesterov's accelerated gradient: v ← momentum·v + g; w ← w - lr·(g + momentum·v) (Nesterov, 1983)."""

    lr_by_features = 1.0
    kind: Literal["nesterov"] = "nesterov"
    momentum: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9
    """Share of the velocity that one step keeps."""

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer over `parameters`."""
        import torch

        return torch.optim.SGD(parameters, lr=self.rate, momentum=self.momentum, nesterov=True)


class Adam(_Optimizer):
    """Adaptive moments: w ← w - lr·m̂/(√v̂ + ε), m and v decaying means of g and g² (Kingma & Ba, 2015)."""

    lr_by_features = 0.5
    most_lr = 2e-3
    kind: Literal["adam"] = "adam"
    beta1: Decay = 0.9
    """Decay of the mean of gradients."""
    beta2: Decay = 0.999
    """Decay of the mean of squared gradients."""
    epsilon: PositiveFloat = 1e-8
    """Keeps the division finite."""

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer over `parameters`."""
        import torch

        return torch.optim.Adam(parameters, lr=self.rate, betas=(self.beta1, self.beta2), eps=self.epsilon, fused=True)


class AdamW(_Optimizer):
    """Adam with decoupled decay: w ← w - lr·(m̂/(√v̂ + ε) + weight_decay·w) (Loshchilov & Hutter, 2019)."""

    lr_by_features = 0.5
    most_lr = 2e-3
    kind: Literal["adamw"] = "adamw"
    beta1: Decay = 0.9
    """Decay of the mean of gradients."""
    beta2: Decay = 0.999
    """Decay of the mean of squared gradients."""
    epsilon: PositiveFloat = 1e-8
    """Keeps the division finite."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    """Share of the weights, times lr, that each step takes off."""

    def build(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer over `parameters`."""
        import torch

        return torch.optim.AdamW(
            parameters,
            lr=self.rate,
            betas=(self.beta1, self.beta2),
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            fused=True,
        )


Optimizer = Annotated[SGD | Momentum | Nesterov | Adam | AdamW, Field(discriminator="kind")]
