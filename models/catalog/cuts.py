"""Cuts: how much of the backbone is frozen and computed once, and which stages above are trained with the head."""

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
    """Bytes that the cache stores for each image."""

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
    """Freeze the backbone, train the head: features = trunk(image), logits = head(features) (Donahue et al., 2014)."""

    trains: ClassVar[bool] = False
    batch_norm: ClassVar[str] = "frozen"
    probe: ClassVar[bool] = False
    interpolate: ClassVar[bool] = False
    kind: Literal["all"] = "all"


class _Trained(Technique):
    """Base of the cuts that train stages of the backbone."""

    trains: ClassVar[bool] = True

    lr_scale: Annotated[float, Field(gt=0.0, le=10.0)] = 0.1
    """Learning rate of the topmost stage, as a multiple of the head's."""
    lr_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.75
    """Layer-wise decay: each stage's learning rate over that of the stage above it (Howard & Ruder, 2018)."""
    batch_norm: Literal["frozen", "adapted", "trained"] = "frozen"
    """Statistics and weights of BatchNorm above the cut: frozen; frozen after the statistics are estimated anew on the
    training images, before anything is trained (AdaBN; Li et al., 2018); or updated in training. Below: frozen.
    `tuning: norm_only` trains the weights and `bias_only` the biases in any case."""
    probe: bool = False
    """Train the head alone first, on cached features of the frozen backbone, as `cut: all` does, and go on from there
    (linear probing, then fine-tuning, LP-FT; Kumar et al., 2022): a new head does not disturb the stages, and what is
    delivered is not less accurate than the head alone on the validation images. Not with `pretraining`."""
    interpolate: bool = True
    """Deliver the best of the points start + α·(best epoch - start), α = 1/4, 1/2, 3/4, 1, on the validation images
    (weight-space ensembles, WiSE-FT; Wortsman et al., 2022); the start is that after `probe`, without which nothing is
    interpolated."""

    def count_unfrozen(self, epoch: int, count: int) -> int:
        """Count the stages above the cut that are trained in epoch 1, 2, …, from the top; there are `count`."""
        return count

    def scale_lr(self, depth: int) -> float:
        """Compute a stage's learning rate as a multiple of the head's; the topmost stage has depth 0."""
        return self.lr_scale * self.lr_decay**depth


class Stage(_Trained):
    """Freeze the backbone up to and including a named stage, train the rest: w ← w - lr·lr_scale·lr_decayⁱ·g."""

    kind: Literal["stage"] = "stage"
    name: Annotated[str, Field(examples=["layer3"])]
    """Last frozen stage, or a single cut, of the backbone; `graft inspect NAME` lists both."""

    def choose(self, cuts: Sequence[CandidateCut]) -> str | None:
        """Choose the cut at the end of the named stage; raises CutUnknown."""
        ends = {cut.name: cut for cut in cuts} | {cut.stage: cut for cut in cuts} | find_stages(cuts)
        if self.name not in ends:
            raise CutUnknown(f"This backbone has no stage or cut {self.name}; its stages are {_names(cuts)}.")
        return ends[self.name].name


class Top(_Trained):
    """Train the top stages, freeze the rest (Yosinski et al., 2014): w ← w - lr·lr_scale·lr_decayⁱ·g."""

    kind: Literal["top"] = "top"
    stages: Annotated[int, Field(ge=1, le=1000)] = 1
    """Number of stages to train; a norm or pool outside the stages does not count as one."""

    def choose(self, cuts: Sequence[CandidateCut]) -> str | None:
        """Choose the cut below the trained stages; raises CutUnknown."""
        return _below(cuts, self.stages)


class Fraction(_Trained):
    """Freeze a share of the backbone by compute: multiply-adds below the cut ≤ frozen·total, as close as possible."""

    kind: Literal["fraction"] = "fraction"
    frozen: Annotated[float, Field(gt=0.0, le=1.0)] = 0.8
    """Largest share of the backbone's multiply-adds that is frozen."""

    def choose(self, cuts: Sequence[CandidateCut]) -> str | None:
        """Choose the highest cut with at most this share below; raises CutUnknown if the lowest has more."""
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
    """Freeze nothing: the whole backbone is trained, on images decoded and augmented anew in each epoch.

    The i-th stage from the top learns by w ← w - lr·lr_scale·lr_decayⁱ·g.
    """

    kind: Literal["none"] = "none"

    def choose(self, cuts: Sequence[CandidateCut]) -> str | None:
        """Choose no cut: the whole network is trained."""
        return None


class Gradual(_Trained):
    """Gradual unfreezing: the head first, then one more stage every few epochs, from the top (Howard & Ruder, 2018).

    Epoch e = 1, 2, … trains min(stages, ⌊(e - 1)/every⌋) stages; all that lies below them is computed once.
    """

    kind: Literal["gradual"] = "gradual"
    stages: Annotated[int, Field(ge=1, le=1000)] = 2
    """Number of stages trained in the end."""
    every: Epochs = 5
    """Epochs between one stage and the next."""

    def choose(self, cuts: Sequence[CandidateCut]) -> str | None:
        """Choose the cut below the trained stages; raises CutUnknown."""
        return _below(cuts, self.stages)

    def count_unfrozen(self, epoch: int, count: int) -> int:
        """Count the trained stages: none at first, then one more every `every` epochs."""
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
