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
    """The backbone has no such stage or cut; the message lists those that it has."""


@dataclass(frozen=True)
class CandidateCut:
    """A value at which a backbone can be cut: its path, its stage, and the cost of what is below."""

    name: str
    stage: str
    multiply_adds_below: int
    bytes: int = 0
    """What the cache keeps of each image."""

    @classmethod
    def from_dict(cls, cut: Mapping[str, Any]) -> CandidateCut:
        """Read one of a backbone's cuts, as the API lists it."""
        return cls(cut["name"], cut["stage"], cut["multiply_adds_below"], cut["bytes_per_feature"])


def assign_stages(cuts: Sequence[CandidateCut]) -> list[str]:
    """Assign each cut to a stage: the one it lies in, or the one before where that one computes nothing.

    Norms and pools outside all stages compute nothing, and so do modules amid a stage. `cuts` are in order.
    """
    costs = [0, *(cut.multiply_adds_below for cut in cuts)]
    computing = [cut.stage for below, cut in zip(costs, cuts, strict=False) if cut.multiply_adds_below > below]
    last = {cut.stage: number for number, cut in enumerate(cuts)}
    owner = next(iter([*computing, *last]), "")
    found = []
    for number, cut in enumerate(cuts):
        if cut.stage in computing and last[owner] < number:
            owner = cut.stage
        found.append(owner)
    return found


def find_stages(cuts: Sequence[CandidateCut]) -> dict[str, CandidateCut]:
    """Find the stages that compute something, from the lowest up, each with its last cut."""
    return dict(zip(assign_stages(cuts), cuts, strict=True))


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

    def choose(self, cuts: Sequence[CandidateCut]) -> str | None:
        """The end of the stage; raises CutUnknown."""
        ends = {cut.name: cut for cut in cuts} | {cut.stage: cut for cut in cuts} | find_stages(cuts)
        if self.name not in ends:
            raise CutUnknown(f"This backbone has no stage or cut {self.name}; its stages are {_names(cuts)}.")
        return ends[self.name].name


class Top(_Trained):
    """The top stages are trained, what is below is frozen (Yosinski et al., 2014): w ← w - lr·lr_scale·lr_decayⁱ·g."""

    kind: Literal["top"] = "top"
    stages: Annotated[int, Field(ge=1, le=1000)] = 1
    """How many; norms and pools do not count."""

    def choose(self, cuts: Sequence[CandidateCut]) -> str | None:
        """Below them; raises CutUnknown."""
        return _below(cuts, self.stages)


class Fraction(_Trained):
    """Frozen is at most this share of the backbone's multiply-adds: below ≤ frozen·total, and as near as can be."""

    kind: Literal["fraction"] = "fraction"
    frozen: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    """Share of the multiply-adds that lie below the cut."""

    def choose(self, cuts: Sequence[CandidateCut]) -> str | None:
        """The highest cut with no more below it; raises CutUnknown where the first has more."""
        total = cuts[-1].multiply_adds_below
        fitting = [cut.name for cut in cuts if cut.multiply_adds_below <= self.frozen * total]
        if not fitting:
            least = math.ceil(100 * cuts[0].multiply_adds_below / total) / 100
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

    def choose(self, cuts: Sequence[CandidateCut]) -> str | None:
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

    def choose(self, cuts: Sequence[CandidateCut]) -> str | None:
        """Below them; raises CutUnknown."""
        return _below(cuts, self.stages)

    def unfrozen(self, epoch: int, count: int) -> int:
        """None at first, then one more each `every` epochs."""
        return min(count, (epoch - 1) // self.every)


def _below(cuts: Sequence[CandidateCut], count: int) -> str:
    ends = list(find_stages(cuts).values())
    if count >= len(ends):
        raise CutUnknown(
            f"This backbone has {len(ends)} stages ({_names(cuts)}); train fewer than these, or cut: none."
        )
    return ends[-count - 1].name


def _names(cuts: Sequence[CandidateCut]) -> str:
    return ", ".join(find_stages(cuts))


Cut = Annotated[All | Stage | Top | Fraction | Nothing | Gradual, Field(discriminator="kind"), by_name("all")]
