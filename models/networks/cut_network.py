"""Division: a network parted at a cut into the trunk, which stays frozen, and the top, whose stages are trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from models.catalog.cuts import CutUnknown, Place, owners
from models.networks.candidate_cuts import inspect, stage_of
from models.networks.surgery import Frozen, Joined
from models.networks.tracing import SurgeryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.catalog.cuts import Cut
    from models.networks.surgery import FeatureNetwork, NetworkTail
    from models.networks.types import TimmNetwork


class CutUnsupported(SurgeryError):
    """The network cannot be cut there."""

    code = "cut_unsupported"


@dataclass(frozen=True)
class TrainedStage:
    """A stage above the cut."""

    name: str
    parameters: dict[str, nn.Parameter]
    """By their names in the network; those of BatchNorm are among them."""


@dataclass(frozen=True)
class CutNetwork:
    """The parts. Features of an image are top(trunk(image))."""

    trunk: Frozen | None
    """(B, 3, H, W) → what is cached, (B, *shape); none where nothing is frozen."""
    top: nn.Module
    """What is cached → (B, num_features)."""
    cut: str
    shape: tuple[int, ...]
    digest: str
    """SHA-256, in hex, of all that the trunk's output depends on beside the image."""
    stages: Sequence[TrainedStage] = field(default=())
    """Those of the top, the topmost first."""
    share_above: float = 0.0
    """Of the multiply-adds, how many lie in the top."""
    moved_from: str | None = None
    """The place that the recipe names, where what it gives is too large to be kept."""

    @classmethod
    def below_classifier(cls, feature_network: FeatureNetwork) -> CutNetwork:
        """Everything is trunk."""
        return cls(
            feature_network.trunk,
            nn.Identity(),
            feature_network.cut,
            (feature_network.num_features,),
            feature_network.digest,
        )

    def set_modes(self, unfrozen: int, norms_train: bool) -> None:
        """Have the topmost `unfrozen` stages learn and the others stand still, their BatchNorm's statistics too.

        What is trained runs in evaluation mode as well, so that only BatchNorm can tell; its weights and statistics
        move where `norms_train`.
        """
        self.top.eval()
        learning = {id(parameter) for stage in self.stages[:unfrozen] for parameter in stage.parameters.values()}
        for stage in self.stages:
            for parameter in stage.parameters.values():
                parameter.requires_grad_(id(parameter) in learning)
        for module in self.top.modules():
            if isinstance(module, _BatchNorm):
                own = list(module.parameters(recurse=False))
                module.training = norms_train and any(id(parameter) in learning for parameter in own)
                for parameter in own:
                    parameter.requires_grad_(module.training)
            elif hasattr(module, "attention_bias_cache"):
                module.training = True  # else timm's LeViT and its like compute their biases once, and never again


def cut_at(
    network: TimmNetwork,
    feature_network: FeatureNetwork,
    cut: Cut,
    input_size: tuple[int, int, int],
    identity: Mapping[str, Any],
    most_bytes: float = math.inf,
) -> CutNetwork:
    """The network as a recipe's `cut` parts it, or at the next place above of which an image takes so few bytes.

    Raises CutUnsupported.
    """
    if cut.kind == "all":
        return CutNetwork.below_classifier(feature_network)
    found = places(network, feature_network, input_size)
    try:
        wanted = cut.place(found)
    except CutUnknown as error:
        raise CutUnsupported(str(error)) from error
    name = _affordable(wanted, found, most_bytes)
    moved_from = None if name == wanted else wanted
    stages = _above(name, feature_network.end, found)
    if not stages:  # the same features, where they are the fewest numbers to keep
        return replace(CutNetwork.below_classifier(feature_network), moved_from=moved_from)
    if name is None:
        return CutNetwork(None, feature_network.trunk.network, "image", input_size, "", stages, 1.0)
    below, above = feature_network.end.parted(name)
    trunk = Frozen(below)
    with torch.no_grad():
        shape = tuple(trunk(feature_network.tried).shape[1:])
    costs = {place.name: place.multiply_adds_below for place in found}
    return CutNetwork(
        trunk,
        top=nn.Sequential(above, Joined()),
        cut=name,
        shape=shape,
        digest=feature_network.end.digest(below, name, identity),
        stages=stages,
        share_above=1 - costs[name] / found[-1].multiply_adds_below,
        moved_from=moved_from,
    )


def places(network: TimmNetwork, feature_network: FeatureNetwork, input_size: tuple[int, int, int]) -> list[Place]:
    """Where the network can be cut, in its order; the last is the input of its classifier."""
    own = feature_network.end.cuts
    cuts = inspect(network, input_size)["cuts"] if own else []
    found = [Place.of(cut) for cut in cuts if cut["name"] in own]
    if (
        not found or found[-1].name != feature_network.cut
    ):  # which is several vectors, or no value through which all flows
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            feature_network.trunk(feature_network.tried[:1])
        # CLIP's attention has its classifier, whose cost does not count, below some of the cuts.
        cost = max(counter.get_total_flops() // 2, *(place.multiply_adds_below for place in found), 0)
        found.append(Place(feature_network.cut, stage_of(feature_network.cut.split(" + ")[0]), cost))
    return found


def _affordable(wanted: str | None, places: Sequence[Place], most_bytes: float) -> str | None:
    names = [place.name for place in places]
    if wanted is None:
        return None
    above = places[names.index(wanted) :]
    return next((place.name for place in above if place.bytes <= most_bytes), names[-1])


def _above(cut: str | None, end: NetworkTail, places: Sequence[Place]) -> list[TrainedStage]:
    """The stages above a place, the topmost first; above the image if it is None.

    A parameter belongs to the lowest stage that uses it: what the trunk uses as well is not trained.
    """
    stages: dict[str, dict[str, nn.Parameter]] = {}
    claimed = end.parameters()
    is_above = cut is None
    for place, stage in zip(places, owners(places), strict=True):
        used = end.used(place.name).items()
        new = {name: parameter for name, parameter in used if id(parameter) not in claimed}
        claimed |= {id(parameter) for parameter in new.values()}
        if is_above and new:
            stages.setdefault(stage, {}).update(new)
        is_above = is_above or place.name == cut
    return [TrainedStage(name, parameters) for name, parameters in reversed(stages.items())]
