"""Cuts: what of the backbone stays frozen, and is computed once, and what above it is trained with the head."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from models.catalog.technique import Epochs, Technique, by_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class CutUnknown(ValueError):
    """The backbone has no such place; the message lists those that it has."""


@dataclass(frozen=True)
class Place:
    """A place where a backbone can be cut: the value's path, the stage it lies in, and the cost of what is below."""

    name: str
    stage: str
    multiply_adds_below: int
    bytes: int = 0
    """What the cache keeps of an image that is cut there."""

    @classmethod
    def of(cls, cut: Mapping[str, Any]) -> Place:
        """One of a backbone's cuts, as it is listed."""
        return cls(cut["name"], cut["stage"], cut["multiply_adds_below"], cut["bytes_per_feature"])


def owners(places: Sequence[Place]) -> list[str]:
    """The stage that each place counts to: that which it lies in, or the one before where that computes nothing.

    Norms and pools by themselves are such, and what stands amid a stage. `places` lie in the order of the network.
    """
    costs = [0, *(place.multiply_adds_below for place in places)]
    computing = [place.stage for below, place in zip(costs, places, strict=False) if place.multiply_adds_below > below]
    last = {place.stage: number for number, place in enumerate(places)}
    owner = next(iter([*computing, *last]), "")
    found = []
    for number, place in enumerate(places):
        if place.stage in computing and last[owner] < number:
            owner = place.stage
        found.append(owner)
    return found


def stages(places: Sequence[Place]) -> dict[str, Place]:
    """The stages that compute something, from below, each with its last place."""
    return dict(zip(owners(places), places, strict=True))


class All(Technique):
    """The whole backbone is frozen: features = trunk(image), logits = head(features) (Donahue et al., 2014)."""

    trains: ClassVar[bool] = False
    kind: Literal["all"] = "all"


class _Trained(Technique):
    """What stages above the cut have in common."""

    trains: ClassVar[bool] = True

    lr_scale: Annotated[float, Field(gt=0.0, le=10.0)] = 0.1
    """Learning rate of the topmost stage, as a share of the head's."""
    lr_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.75
    """What each stage further down has of the rate of the one above it (layer-wise decay; Howard & Ruder, 2018)."""
    batch_norm: Literal["frozen", "trained"] = "frozen"
    """Whether BatchNorm above the cut keeps its statistics and weights, or learns. Below the cut it never moves."""

    def unfrozen(self, epoch: int, count: int) -> int:
        """How many of the `count` stages above the cut, from the top, are trained in an epoch (1, 2, …)."""
        return count

    def rate(self, depth: int) -> float:
        """Learning rate of a stage, as a share of the head's; the topmost has depth 0."""
        return self.lr_scale * self.lr_decay**depth


class Stage(_Trained):
    """The backbone up to and with a stage is frozen, what is above it trained: w ← w - lr·lr_scale·lr_decayⁱ·g."""

    kind: Literal["stage"] = "stage"
    name: Annotated[str, Field(examples=["layer3"])]
    """A stage, or else a cut, of the backbone, as GET /v1/backbones/{name} lists them."""

    def place(self, places: Sequence[Place]) -> str | None:
        """The end of the stage; raises CutUnknown."""
        ends = {place.name: place for place in places} | {place.stage: place for place in places} | stages(places)
        if self.name not in ends:
            raise CutUnknown(f"This backbone has no stage or cut {self.name}; its stages are {_names(places)}.")
        return ends[self.name].name


class Top(_Trained):
    """The top stages are trained, what is below is frozen (Yosinski et al., 2014): w ← w - lr·lr_scale·lr_decayⁱ·g."""

    kind: Literal["top"] = "top"
    stages: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many; norms and pools do not count."""

    def place(self, places: Sequence[Place]) -> str | None:
        """Below them; raises CutUnknown."""
        return _below(places, self.stages)


class Fraction(_Trained):
    """Frozen is at most this share of the backbone's multiply-adds: below ≤ frozen·total, and as near as can be."""

    kind: Literal["fraction"] = "fraction"
    frozen: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    """Share of the multiply-adds that lie below the cut."""

    def place(self, places: Sequence[Place]) -> str | None:
        """The highest place with no more below it; raises CutUnknown where the first has more."""
        total = places[-1].multiply_adds_below
        fitting = [place.name for place in places if place.multiply_adds_below <= self.frozen * total]
        if not fitting:
            least = math.ceil(100 * places[0].multiply_adds_below / total) / 100
            raise CutUnknown(
                f"This backbone cannot be cut with at most {self.frozen:g} of its multiply-adds below: set cut.frozen "
                f"to {least:g} or more, or cut to none."
            )
        return fitting[-1]


class Nothing(_Trained):
    """Nothing is frozen: the whole backbone is trained on images rendered anew each epoch.

    The i-th stage from the top learns by w ← w - lr·lr_scale·lr_decayⁱ·g.
    """

    kind: Literal["none"] = "none"

    def place(self, places: Sequence[Place]) -> str | None:
        """At the image itself."""
        return None


class Gradual(_Trained):
    """The head alone is trained first, then one stage more each `every` epochs, from the top (Howard & Ruder, 2018).

    Trained in epoch e are min(stages, ⌊(e - 1)/every⌋) stages; what is below all of them is computed once.
    """

    kind: Literal["gradual"] = "gradual"
    stages: Annotated[int, Field(ge=1, le=1000)] = 2
    """How many in the end."""
    every: Epochs = 5
    """Epochs from one to the next."""

    def place(self, places: Sequence[Place]) -> str | None:
        """Below them; raises CutUnknown."""
        return _below(places, self.stages)

    def unfrozen(self, epoch: int, count: int) -> int:
        """None at first, then one more each `every` epochs."""
        return min(count, (epoch - 1) // self.every)


def _below(places: Sequence[Place], count: int) -> str:
    ends = list(stages(places).values())
    if count >= len(ends):
        raise CutUnknown(
            f"This backbone has {len(ends)} stages ({_names(places)}); train fewer than these, or cut: none."
        )
    return ends[-count - 1].name


def _names(places: Sequence[Place]) -> str:
    return ", ".join(stages(places))


Cut = Annotated[All | Stage | Top | Fraction | Nothing | Gradual, Field(discriminator="kind"), by_name("all")]
