"""Search: many linear heads on the same features, each with choices of its own, of which the best are gone on with."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field

from models.catalog.technique import Positive, Technique, known

if TYPE_CHECKING:
    import numpy as np

AROUND_RATE = (0.1, 10.0)
"""Times the recipe's rate."""
STRENGTHS = (0.1, 100.0)
"""Over the images to train on: logistic regression's C from 10 to 0.01."""
MOST_WEIGHTS = 2**27
"""Of all heads: with gradients and Adam's means, about 3 GB."""
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


def _rises(given: tuple[float, float]) -> tuple[float, float]:
    if given[0] > given[1]:
        raise ValueError(f"{given[0]:g} is more than {given[1]:g}: give the smaller one first")
    return given


Range = Annotated[tuple[Positive, Positive], AfterValidator(_rises)]


class Trial(NamedTuple):
    """What one head of a search has of its own."""

    lr: float
    """Learning rate."""
    l2: float
    """Strength of the L2 penalty."""
    dropout: float
    """Probability with which a feature is dropped."""


class Space(Technique):
    """What trials differ in. Of each range they take a number whose logarithm is uniform."""

    lr: Range | Literal["auto"] | None = "auto"
    """Learning rates from … to …; auto: a tenth to ten times the recipe's; null: the recipe's."""
    l2: Range | Literal["auto"] | None = "auto"
    """Strengths of L2 from … to …; auto: 0.1 to 100 / (images to train on); null: the recipe's."""
    dropout: Annotated[tuple[Probability, ...], Field(min_length=1, max_length=8)] | None = (0.0, 0.2, 0.5)
    """Probabilities to choose from; null: the recipe's."""


class Search(Technique):
    """Successive halving: of many heads the better half is trained on for twice as long, until one is left.

    That one's choices then are the recipe's, and training begins (Jamieson & Talwalkar, 2016; drawn at random: Bergstra
    & Bengio, 2012). The recipe's own choices are the first trial. A trial is trained with the recipe's optimizer, loss
    and feature noise, at a constant rate; what else the recipe has joins in when the best is trained.
    """

    trials: Annotated[int, Field(ge=2, le=512)] = 64
    """Heads that are tried; fewer where their weights would fill the memory."""
    space: Space = Space()
    """What they differ in."""

    def resolve(self, images: int, num_features: int, num_classes: int) -> Search:
        """The same with all known but the rates, for so many images to train on, and no more heads than fit."""
        trials = min(self.trials, max(2, MOST_WEIGHTS // (num_features * num_classes)))
        low, high = (strength / images for strength in STRENGTHS)
        space = self.space.model_copy(update={"l2": (low, high)}) if self.space.l2 == "auto" else self.space
        return self.model_copy(update={"trials": trials, "space": space})

    def drawn(self, own: Trial, draw: np.random.Generator) -> list[Trial]:
        """The trials of a resolved search, the recipe's `own` choices first."""
        space = self.space
        l2 = known(space.l2)
        lrs = (own.lr * AROUND_RATE[0], own.lr * AROUND_RATE[1]) if space.lr == "auto" else space.lr
        dropouts = space.dropout or (own.dropout,)
        others = [
            Trial(
                lr=own.lr if lrs is None else _between(lrs, draw),
                l2=own.l2 if l2 is None else _between(l2, draw),
                dropout=float(draw.choice(dropouts)),
            )
            for _ in range(self.trials - 1)
        ]
        return [own, *others]


def _between(ends: tuple[float, float], draw: np.random.Generator) -> float:
    low, high = map(math.log, ends)
    return float(f"{math.exp(draw.uniform(low, high)):.3g}")
