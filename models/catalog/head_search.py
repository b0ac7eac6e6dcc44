"""Head search: tries many linear heads at once, each with its own learning rate, L2 strength and dropout."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field

from models.catalog.technique import Positive, Technique, known

if TYPE_CHECKING:
    import numpy as np

AROUND_RATE = (0.1, 10.0)
"""Range of learning rates for `auto`, as multiples of the recipe's."""
STRENGTHS = (0.1, 100.0)
"""Range of L2 strengths for `auto`, times the number of training images: C from 10 to 0.01."""
MOST_WEIGHTS = 2**27
"""Most weights of all heads together: with gradients and Adam's means, about 3 GB."""
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


def _check_order(given: tuple[float, float]) -> tuple[float, float]:
    if given[0] > given[1]:
        raise ValueError(f"{given[0]:g} is more than {given[1]:g}: give the smaller one first")
    return given


Range = Annotated[tuple[Positive, Positive], AfterValidator(_check_order)]


class Trial(NamedTuple):
    """Hyperparameters of one head of a search."""

    lr: float
    """Learning rate."""
    l2: float
    """Strength of the L2 penalty."""
    dropout: float
    """Dropout probability of the features."""


class SearchSpace(Technique):
    """Search space: the ranges from which trials are drawn at random; learning rate and L2 log-uniformly."""

    lr: Range | Literal["auto"] | None = "auto"
    """Smallest and largest learning rate; auto: 0.1 and 10 times the recipe's; null: the recipe's for all trials."""
    l2: Range | Literal["auto"] | None = "auto"
    """Smallest and largest L2 strength; auto: 0.1 and 100 / (training images); null: the recipe's for all trials."""
    dropout: Annotated[tuple[Probability, ...], Field(min_length=1, max_length=8)] | None = (0.0, 0.2, 0.5)
    """Dropout probabilities to choose from; null: the recipe's for all trials."""


class Search(Technique):
    """Successive halving: train many heads, keep the better half and train it twice as long, until one is left.

    The winner's learning rate, L2 strength and dropout become the recipe's, and the actual training begins (Jamieson &
    Talwalkar, 2016; random search: Bergstra & Bengio, 2012). The first trial has the recipe's own values. Trials use
    the recipe's optimizer, loss and feature noise at a constant rate; all other techniques only act afterwards.
    """

    trials: Annotated[int, Field(ge=2, le=512)] = 64
    """Number of heads to try; fewer are tried where their weights would not fit into memory."""
    space: SearchSpace = SearchSpace()
    """Ranges that the trials are drawn from."""

    def resolve(self, images: int, num_features: int, num_classes: int) -> Search:
        """Resolve the range of L2 strengths and limit the trials to what fits into memory; rates stay as they are."""
        trials = min(self.trials, max(2, MOST_WEIGHTS // (num_features * num_classes)))
        low, high = (strength / images for strength in STRENGTHS)
        space = self.space.model_copy(update={"l2": (low, high)}) if self.space.l2 == "auto" else self.space
        return self.model_copy(update={"trials": trials, "space": space})

    def draw_trials(self, own: Trial, draw: np.random.Generator) -> list[Trial]:
        """Draw the trials of a resolved search at random; the first has the recipe's `own` values."""
        space = self.space
        l2 = known(space.l2)
        lrs = (own.lr * AROUND_RATE[0], own.lr * AROUND_RATE[1]) if space.lr == "auto" else space.lr
        dropouts = space.dropout or (own.dropout,)
        others = [
            Trial(
                lr=own.lr if lrs is None else _draw_log_uniform(lrs, draw),
                l2=own.l2 if l2 is None else _draw_log_uniform(l2, draw),
                dropout=float(draw.choice(dropouts)),
            )
            for _ in range(self.trials - 1)
        ]
        return [own, *others]


def _draw_log_uniform(ends: tuple[float, float], draw: np.random.Generator) -> float:
    low, high = map(math.log, ends)
    return float(f"{math.exp(draw.uniform(low, high)):.3g}")
