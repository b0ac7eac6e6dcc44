"""Optimizers: update rules of the weights. g is the gradient, w a weight, lr the learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field

from models.catalog.technique import NotNegative, Positive, Technique, by_name, known

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    Parameters = Iterable[torch.nn.Parameter] | Iterable[dict[str, Any]]
    """Parameters to optimize, or torch's parameter groups with an `lr` of their own."""

Rate = Positive | Literal["auto"]
Decay = Annotated[float, Field(ge=0.0, lt=1.0)]
Epsilon = Positive


class _Optimizer(Technique):
    lr: Rate = "auto"
    """Learning rate; auto: found by a learning rate range test on the job's features (Smith, 2017)."""

    @property
    def rate(self) -> float:
        """The learning rate of a resolved technique."""
        return known(self.lr)

    def with_lr(self, lr: float) -> Self:
        """Set the learning rate."""
        return self.model_copy(update={"lr": lr})


class SGD(_Optimizer):
    """Stochastic gradient descent: w ← w - lr·g (Robbins & Monro, 1951)."""

    kind: Literal["sgd"] = "sgd"

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Build the optimizer of `parameters`."""
        import torch

        return torch.optim.SGD(parameters, lr=self.rate)


class Momentum(_Optimizer):
    """Heavy-ball momentum: v ← momentum·v + g; w ← w - lr·v (Polyak, 1964)."""

    kind: Literal["momentum"] = "momentum"
    momentum: Decay = 0.9
    """Share of the velocity v that a step keeps; 0: plain SGD."""

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Build the optimizer of `parameters`."""
        import torch

        return torch.optim.SGD(parameters, lr=self.rate, momentum=self.momentum)


class Nesterov(_Optimizer):
    """Nesterov's accelerated gradient: v ← momentum·v + g; w ← w - lr·(g + momentum·v) (Nesterov, 1983)."""

    kind: Literal["nesterov"] = "nesterov"
    momentum: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9
    """Share of the velocity v that a step keeps."""

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Build the optimizer of `parameters`."""
        import torch

        return torch.optim.SGD(parameters, lr=self.rate, momentum=self.momentum, nesterov=True)


class Adam(_Optimizer):
    """Adam, adaptive moments: w ← w - lr·m̂/(√v̂ + ε), m and v decaying means of g and g² (Kingma & Ba, 2015)."""

    kind: Literal["adam"] = "adam"
    beta1: Decay = 0.9
    """Decay rate of m, the running mean of gradients."""
    beta2: Decay = 0.999
    """Decay rate of v, the running mean of squared gradients."""
    epsilon: Epsilon = 1e-8
    """Small number ε in the denominator, so that the division stays finite."""

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Build the optimizer of `parameters`."""
        import torch

        return torch.optim.Adam(parameters, lr=self.rate, betas=(self.beta1, self.beta2), eps=self.epsilon, fused=True)


class AdamW(_Optimizer):
    """AdamW, Adam with decoupled weight decay: w ← w - lr·(m̂/(√v̂ + ε) + weight_decay·w) (Loshchilov & Hutter, 2019)."""

    kind: Literal["adamw"] = "adamw"
    beta1: Decay = 0.9
    """Decay rate of m, the running mean of gradients."""
    beta2: Decay = 0.999
    """Decay rate of v, the running mean of squared gradients."""
    epsilon: Epsilon = 1e-8
    """Small number ε in the denominator, so that the division stays finite."""
    weight_decay: NotNegative = 0.01
    """Weight decay: each step takes lr·weight_decay·w off every weight, biases and norms included. The recipe's default
    l2 regularizer acts as well; `regularizers: []` leaves it out."""

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Build the optimizer of `parameters`."""
        import torch

        return torch.optim.AdamW(
            parameters,
            lr=self.rate,
            betas=(self.beta1, self.beta2),
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            fused=True,
        )


class AdaGrad(_Optimizer):
    """AdaGrad, smaller steps where gradients were large: s ← s + g²; w ← w - lr·g/(√s + ε) (Duchi et al., 2011)."""

    kind: Literal["adagrad"] = "adagrad"
    epsilon: Epsilon = 1e-10
    """Small number ε in the denominator, so that the division stays finite."""

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Build the optimizer of `parameters`."""
        import torch

        return torch.optim.Adagrad(parameters, lr=self.rate, eps=self.epsilon)


class RMSProp(_Optimizer):
    """RMSProp, AdaGrad with a running mean of g² in place of the sum (Tieleman & Hinton, 2012).

    s ← decay·s + (1 - decay)·g²; w ← w - lr·g/(√s + ε).
    """

    kind: Literal["rmsprop"] = "rmsprop"
    decay: Decay = 0.9
    """Decay rate of s, the running mean of squared gradients."""
    epsilon: Epsilon = 1e-8
    """Small number ε in the denominator, so that the division stays finite."""

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Build the optimizer of `parameters`."""
        import torch

        return torch.optim.RMSprop(parameters, lr=self.rate, alpha=self.decay, eps=self.epsilon)


class NAdam(_Optimizer):
    """NAdam, Adam with Nesterov momentum (Dozat, 2016).

    w ← w - lr·(μₜ₊₁·m/(1 - μ₁…μₜ₊₁) + (1 - μₜ)·g/(1 - μ₁…μₜ))/(√v̂ + ε), μₜ = beta1·(1 - 0.96^(t/250)/2).
    """

    kind: Literal["nadam"] = "nadam"
    beta1: Decay = 0.9
    """Decay rate of m, the running mean of gradients."""
    beta2: Decay = 0.999
    """Decay rate of v, the running mean of squared gradients."""
    epsilon: Epsilon = 1e-8
    """Small number ε in the denominator, so that the division stays finite."""

    def build(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Build the optimizer of `parameters`."""
        import torch

        return torch.optim.NAdam(parameters, lr=self.rate, betas=(self.beta1, self.beta2), eps=self.epsilon)


Optimizer = Annotated[
    SGD | Momentum | Nesterov | AdaGrad | RMSProp | Adam | AdamW | NAdam,
    Field(discriminator="kind"),
    by_name("adam"),
]
