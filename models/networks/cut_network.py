"""A network cut into a trunk, which stays frozen, and a top, whose stages are trained."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from models.catalog.cuts import CutUnknown, assign_stages
from models.catalog.tuning import Full
from models.networks.candidate_cuts import list_candidate_cuts
from models.networks.feature_network import ConcatenateVectors, FrozenNetwork
from models.networks.tracing import SurgeryError
from models.networks.types import as_module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.catalog.cuts import CandidateCut, Cut
    from models.catalog.tuning import Tuning
    from models.networks.feature_network import FeatureNetwork, NetworkTail


class CutUnsupported(SurgeryError):
    """The network cannot be cut there."""

    code = "cut_unsupported"


class TuningUnsupported(SurgeryError):
    """The network has no weights above the cut that the recipe's tuning trains."""

    code = "tuning_unsupported"


@dataclass(frozen=True)
class TrainedStage:
    """A stage above the cut."""

    name: str
    parameters: dict[str, nn.Parameter]
    """Parameters by their names in the network, BatchNorm's included."""
    unselected: frozenset[str] = frozenset()
    """Names of the parameters that the recipe's tuning does not train."""


@dataclass(frozen=True)
class CutNetwork:
    """A trunk and a top; the features of an image are top(trunk(image))."""

    trunk: FrozenNetwork | None
    """(B, 3, H, W) → (B, *shape), which is cached; None if nothing is frozen."""
    top: nn.Module
    """(B, *shape) → (B, num_features)."""
    cut: str
    shape: tuple[int, ...]
    digest: str
    """SHA-256, in hex, of everything that the trunk's output depends on beside the image."""
    stages: Sequence[TrainedStage] = field(default=())
    """The stages of the top, from the topmost down."""
    share_above: float = 0.0
    """Share of the network's multiply-adds that lie in the top, from 0 to 1."""
    moved_from: str | None = None
    """Cut that the recipe asks for, if its values are too large for the cache; None if the cut is the recipe's own."""

    @classmethod
    def from_feature_network(cls, feature_network: FeatureNetwork) -> CutNetwork:
        """Cut before the classifier: everything is trunk."""
        return cls(
            feature_network.trunk,
            nn.Identity(),
            feature_network.cut,
            (feature_network.num_features,),
            feature_network.digest,
        )

    def set_modes(self, unfrozen: int, norms_train: bool) -> None:
        """Unfreeze the topmost `unfrozen` stages and freeze the others, the statistics of their BatchNorm included.

        Of a stage, the parameters are unfrozen that the recipe's tuning trains. Trained stages run in evaluation mode
        too, except that the weights and statistics of their BatchNorm change if `norms_train`.
        """
        self.top.eval()
        learning: set[int] = set()
        for depth, stage in enumerate(self.stages):
            for name, parameter in stage.parameters.items():
                parameter.requires_grad_(depth < unfrozen and name not in stage.unselected)
                if depth < unfrozen:
                    learning.add(id(parameter))
        for module in self.top.modules():
            if isinstance(module, _BatchNorm):
                own = list(module.parameters(recurse=False))
                module.training = norms_train and any(id(parameter) in learning for parameter in own)
                for parameter in own if module.training else ():
                    parameter.requires_grad_(True)
            elif hasattr(module, "attention_bias_cache"):
                module.training = True  # else timm's LeViT and its like compute their biases once, and never again


def cut_at(
    feature_network: FeatureNetwork, cut: Cut, most_bytes: float = math.inf, tuning: Tuning | None = None
) -> CutNetwork:
    """Cut a network as a recipe asks, or at the next cut above whose value takes at most `most_bytes` per image.

    `tuning`: which parameters above the cut are trained; all by default. Raises CutUnsupported, TuningUnsupported.
    """
    if cut.kind == "all":
        return CutNetwork.from_feature_network(feature_network)
    candidates = list_candidate_cuts(feature_network)
    try:
        wanted = cut.choose(candidates)
    except CutUnknown as error:
        raise CutUnsupported(str(error)) from error
    name = _find_affordable(wanted, candidates, most_bytes)
    moved_from = None if name == wanted else wanted
    tail = feature_network.tail
    stages = _select(_stages_above(name, tail, candidates), as_module(feature_network.network), tuning or Full())
    if not stages:  # the features are the same before the classifier, and the fewest numbers to cache
        return replace(CutNetwork.from_feature_network(feature_network), moved_from=moved_from)
    if name is None:
        return CutNetwork(None, feature_network.trunk.network, "image", feature_network.input_size, "", stages, 1.0)
    below, above = tail.build_parts(name)
    trunk = FrozenNetwork(below)
    with torch.no_grad():
        shape = tuple(trunk(feature_network.sample_images).shape[1:])
    costs = {candidate.name: candidate.multiply_adds_below for candidate in candidates}
    return CutNetwork(
        trunk,
        top=nn.Sequential(above, ConcatenateVectors()),
        cut=name,
        shape=shape,
        digest=tail.compute_digest(below, name, feature_network.identity),
        stages=stages,
        share_above=1 - costs[name] / candidates[-1].multiply_adds_below,
        moved_from=moved_from,
    )


def _find_affordable(wanted: str | None, candidates: Sequence[CandidateCut], most_bytes: float) -> str | None:
    """Find the lowest cut, from the wanted one up, that takes at most `most_bytes`; else the last."""
    names = [candidate.name for candidate in candidates]
    if wanted is None:
        return None
    above = candidates[names.index(wanted) :]
    return next((candidate.name for candidate in above if candidate.bytes <= most_bytes), names[-1])


def _select(stages: Sequence[TrainedStage], network: nn.Module, tuning: Tuning) -> list[TrainedStage]:
    """Mark the parameters of stages that a tuning does not train. Raises TuningUnsupported."""
    selected = []
    for stage in stages:
        parts = {name: name.rpartition(".") for name in stage.parameters}
        others = {n for n, (path, _, own) in parts.items() if not tuning.selects(network.get_submodule(path), own)}
        selected.append(replace(stage, unselected=frozenset(others)))
    if stages and tuning.kind != "full" and all(len(stage.unselected) == len(stage.parameters) for stage in selected):
        raise TuningUnsupported(
            f"This backbone has no {tuning.words} above the cut, which tuning: {tuning.kind} would train: cut it "
            "lower, or set tuning to full."
        )
    return selected


def _stages_above(cut: str | None, tail: NetworkTail, candidates: Sequence[CandidateCut]) -> list[TrainedStage]:
    """Collect the stages above a cut, or above the image if it is None, from the topmost down.

    A parameter belongs to the lowest stage that uses it: what the trunk uses as well is not trained.
    """
    stages: dict[str, dict[str, nn.Parameter]] = {}
    claimed = tail.collect_output_parameters()
    is_above = cut is None
    for candidate, stage in zip(candidates, assign_stages(candidates), strict=True):
        used = tail.collect_parameters(candidate.name).items()
        new = {name: parameter for name, parameter in used if id(parameter) not in claimed}
        claimed |= {id(parameter) for parameter in new.values()}
        if is_above and new:
            stages.setdefault(stage, {}).update(new)
        is_above = is_above or candidate.name == cut
    return [TrainedStage(name, parameters) for name, parameters in reversed(stages.items())]
