"""Schedules: the learning rate over time. Time t is measured in epochs, fractions included.

Each schedule is a pure function, so that resumed training has the rate that uninterrupted training would have had.
"""

from __future__ import annotations

import bisect
import math
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from models.catalog.technique import Epochs, NotNegative, Positive, Technique, by_name

if TYPE_CHECKING:
    from collections.abc import Sequence

Share = Annotated[float, Field(gt=0.0, le=1.0)]


class _Schedule(Technique):
    warmup_epochs: NotNegative = 0.0
    """Epochs of linear warm-up from zero before the schedule proper starts; 0: none (Goyal et al., 2017)."""

    def compute_factor(self, epoch: float, epochs: int, losses: Sequence[float]) -> float:
        """Compute the factor that the learning rate is multiplied by.

        Args:
            epoch: epochs completed, the fraction of the current one included.
            epochs: largest number of epochs of the training.
            losses: validation loss of each completed epoch.
        """
        if epoch < self.warmup_epochs:
            return epoch / self.warmup_epochs
        return self.compute_after_warmup(epoch - self.warmup_epochs, epochs - self.warmup_epochs, losses)

    def compute_after_warmup(self, epoch: float, epochs: float, losses: Sequence[float]) -> float:
        """Compute the factor after warm-up, with time counted from its end."""
        raise NotImplementedError


class Constant(_Schedule):
    """Constant learning rate: η(t) = lr."""

    kind: Literal["constant"] = "constant"

    def compute_after_warmup(self, epoch: float, epochs: float, losses: Sequence[float]) -> float:
        """Return 1."""
        return 1.0


class PiecewiseConstant(_Schedule):
    """Step schedule: η(t) = lr·factors[i] from boundaries[i - 1] to boundaries[i] (ResNets; He et al., 2016)."""

    kind: Literal["piecewise_constant"] = "piecewise_constant"
    boundaries: Annotated[tuple[Positive, ...], Field(max_length=32)] = (10.0, 20.0)
    """Epochs at which the learning rate changes, in ascending order."""
    factors: Annotated[tuple[Positive, ...], Field(max_length=33)] = (1.0, 0.1, 0.01)
    """Multiples of lr before the first boundary, between boundaries, and after the last: one more than boundaries."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if list(self.boundaries) != sorted(set(self.boundaries)):
            raise ValueError("boundaries must ascend")
        if len(self.factors) != len(self.boundaries) + 1:
            raise ValueError(
                f"{len(self.boundaries)} boundaries need {len(self.boundaries) + 1} factors, one more than boundaries; "
                f"factors has {len(self.factors)}"
            )
        return self

    def compute_after_warmup(self, epoch: float, epochs: float, losses: Sequence[float]) -> float:
        """Look up the factor between the boundaries around `epoch`."""
        return self.factors[bisect.bisect_right(self.boundaries, epoch)]


class Performance(_Schedule):
    """Reduce on plateau: η ← reduction·η when the validation loss has not improved for `patience` epochs."""

    kind: Literal["performance"] = "performance"
    reduction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Factor of each reduction of the learning rate."""
    patience: Epochs = 5
    """Epochs in a row without improvement, after warm-up, before a reduction."""

    def compute_after_warmup(self, epoch: float, epochs: float, losses: Sequence[float]) -> float:
        """Compute reduction^(number of plateaus)."""
        best, waited, times = math.inf, 0, 0
        for loss in losses[math.ceil(self.warmup_epochs) :]:
            waited += 1
            if loss < best:
                best, waited = loss, 0
            elif waited == self.patience:
                times, waited = times + 1, 0
        return self.reduction**times


class Exponential(_Schedule):
    """Exponential decay: η(t) = lr·rate^(t/every) (Senior et al., 2013)."""

    kind: Literal["exponential"] = "exponential"
    rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Factor by which the learning rate changes within `every` epochs."""
    every: Positive = 20.0
    """Epochs in which the learning rate is multiplied by `rate` once."""

    def compute_after_warmup(self, epoch: float, epochs: float, losses: Sequence[float]) -> float:
        """Compute rate^(t/every)."""
        return float(self.rate ** (epoch / self.every))


class Power(_Schedule):
    """Power decay: η(t) = lr·(1 + t/every)^-power (Senior et al., 2013)."""

    kind: Literal["power"] = "power"
    every: Positive = 20.0
    """Epochs after which the learning rate has halved if power is 1."""
    power: Positive = 1.0
    """Exponent: the larger, the faster the learning rate falls."""

    def compute_after_warmup(self, epoch: float, epochs: float, losses: Sequence[float]) -> float:
        """Compute (1 + t/every)^-power."""
        return float((1 + epoch / self.every) ** -self.power)


class Cosine(_Schedule):
    """Cosine decay: η(t) = lr·(least + (1 - least)·(1 + cos(π·t/T))/2), T = epochs (Loshchilov & Hutter, 2017)."""

    kind: Literal["cosine"] = "cosine"
    least: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Learning rate at the end, as a multiple of lr."""

    def compute_after_warmup(self, epoch: float, epochs: float, losses: Sequence[float]) -> float:
        """Compute the factor, which falls from 1 to `least` along half a cosine."""
        return self.least + (1 - self.least) * (1 + math.cos(math.pi * min(epoch / epochs, 1.0))) / 2


class OneCycle(_Schedule):
    """One-cycle policy: η(t) rises from lr/start to lr, then falls to lr/end, by half cosines (Smith & Topin, 2018)."""

    kind: Literal["one_cycle"] = "one_cycle"
    rise: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    """Share of the training in which the learning rate rises."""
    start: Annotated[float, Field(ge=1.0, le=1e6)] = 25.0
    """Divisor of lr at the start of training."""
    end: Annotated[float, Field(ge=1.0, le=1e6)] = 1e4
    """Divisor of lr at the end of training."""

    def compute_after_warmup(self, epoch: float, epochs: float, losses: Sequence[float]) -> float:
        """Compute the factor, which rises and then falls."""
        done = min(epoch / epochs, 1.0)
        if done < self.rise:
            return _half_cosine(1 / self.start, 1.0, done / self.rise)
        return _half_cosine(1.0, 1 / self.end, (done - self.rise) / (1 - self.rise))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


Schedule = Annotated[
    Constant | PiecewiseConstant | Performance | Exponential | Power | Cosine | OneCycle,
    Field(discriminator="kind"),
    by_name("constant"),
]
