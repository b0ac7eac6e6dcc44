"""Schedules: what the learning rate is multiplied by as training goes on. Time is counted in epochs, in parts of them.

Each is a pure function, so that a training that resumes goes on with the very rate that it would have had.
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
    """For so long the rate rises from zero in proportion to time, before all else (Goyal et al., 2017)."""

    def factor(self, epoch: float, epochs: int, losses: Sequence[float]) -> float:
        """What to multiply the learning rate by.

        Args:
            epoch: epochs done, with the share of the running one.
            epochs: most epochs of the training.
            losses: validation loss of each epoch that has ended.
        """
        if epoch < self.warmup_epochs:
            return epoch / self.warmup_epochs
        return self.after_warmup(epoch - self.warmup_epochs, epochs - self.warmup_epochs, losses)

    def after_warmup(self, epoch: float, epochs: float, losses: Sequence[float]) -> float:
        """The factor when warm-up is over and does not count as time."""
        raise NotImplementedError


class Constant(_Schedule):
    """η(t) = lr."""

    kind: Literal["constant"] = "constant"

    def after_warmup(self, epoch: float, epochs: float, losses: Sequence[float]) -> float:
        """One."""
        return 1.0


class PiecewiseConstant(_Schedule):
    """η(t) = lr·factors[i] from boundaries[i - 1] to boundaries[i], as He et al. (2016) trained ResNets."""

    kind: Literal["piecewise_constant"] = "piecewise_constant"
    boundaries: Annotated[tuple[Positive, ...], Field(max_length=32)] = (10.0, 20.0)
    """Epochs at which the rate changes, ascending."""
    factors: Annotated[tuple[Positive, ...], Field(max_length=33)] = (1.0, 0.1, 0.01)
    """Of the rate before the first boundary, between them, and after the last."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if list(self.boundaries) != sorted(set(self.boundaries)):
            raise ValueError("boundaries must ascend")
        if len(self.factors) != len(self.boundaries) + 1:
            raise ValueError(
                f"{len(self.boundaries)} boundaries part {len(self.boundaries) + 1} pieces, each with its factor; "
                f"factors has {len(self.factors)}"
            )
        return self

    def after_warmup(self, epoch: float, epochs: float, losses: Sequence[float]) -> float:
        """The factor of the piece."""
        return self.factors[bisect.bisect_right(self.boundaries, epoch)]


class Performance(_Schedule):
    """η ← reduction·η whenever the validation loss has not improved for `patience` epochs, warm-up left out."""

    kind: Literal["performance"] = "performance"
    reduction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """What the rate is multiplied by each time."""
    patience: Epochs = 5
    """Epochs without improvement until then."""

    def after_warmup(self, epoch: float, epochs: float, losses: Sequence[float]) -> float:
        """reduction^(times that patience has run out)."""
        best, waited, times = math.inf, 0, 0
        for loss in losses[math.ceil(self.warmup_epochs) :]:
            waited += 1
            if loss < best:
                best, waited = loss, 0
            elif waited == self.patience:
                times, waited = times + 1, 0
        return self.reduction**times


class Exponential(_Schedule):
    """η(t) = lr·rate^(t/every): with rate 0.1, ten times less after each `every` epochs (Senior et al., 2013)."""

    kind: Literal["exponential"] = "exponential"
    rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """What the learning rate is multiplied by in `every` epochs."""
    every: Positive = 20.0
    """Epochs in which it falls by `rate`."""

    def after_warmup(self, epoch: float, epochs: float, losses: Sequence[float]) -> float:
        """rate^(t/every)."""
        return float(self.rate ** (epoch / self.every))


class Power(_Schedule):
    """η(t) = lr·(1 + t/every)^-power (Senior et al., 2013)."""

    kind: Literal["power"] = "power"
    every: Positive = 20.0
    """Epochs after which the learning rate has halved, where power is 1."""
    power: Positive = 1.0
    """How fast it falls."""

    def after_warmup(self, epoch: float, epochs: float, losses: Sequence[float]) -> float:
        """(1 + t/every)^-power."""
        return float((1 + epoch / self.every) ** -self.power)


class Cosine(_Schedule):
    """η(t) = lr·(least + (1 - least)·(1 + cos(π·t/T))/2), T the last epoch (Loshchilov & Hutter, 2017)."""

    kind: Literal["cosine"] = "cosine"
    least: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """The factor at the end."""

    def after_warmup(self, epoch: float, epochs: float, losses: Sequence[float]) -> float:
        """From 1 down to `least` along half a cosine."""
        return self.least + (1 - self.least) * (1 + math.cos(math.pi * min(epoch / epochs, 1.0))) / 2


class OneCycle(_Schedule):
    """Half a cosine from lr/start up to lr, then one down to lr/end, all in one training (Smith & Topin, 2018)."""

    kind: Literal["one_cycle"] = "one_cycle"
    rise: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    """Share of the training in which the rate rises."""
    start: Annotated[float, Field(ge=1.0, le=1e6)] = 25.0
    """How many times less than lr the rate is at the start."""
    end: Annotated[float, Field(ge=1.0, le=1e6)] = 1e4
    """How many times less than lr it is at the end."""

    def after_warmup(self, epoch: float, epochs: float, losses: Sequence[float]) -> float:
        """Up, then down."""
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
