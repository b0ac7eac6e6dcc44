"""Drop the top stages of a network, so that new layers can take their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from models.catalog.cuts import CandidateCut, find_stages
from models.networks.candidate_cuts import inspect
from models.networks.cut_network import CutUnsupported
from models.networks.feature_network import copy_modules
from models.networks.graph_network import GraphNetwork
from models.networks.graph_truncation import drop_from_graph
from models.networks.output_layers import can_be_output

if TYPE_CHECKING:
    from models.networks.types import TimmNetwork


@dataclass(frozen=True)
class TruncatedNetwork:
    """A network without its top stages."""

    network: TimmNetwork
    dropped: list[str]
    """Paths of the modules that nn.Identity replaces."""


@torch.no_grad()
def drop_stages(network: TimmNetwork, count: int, input_size: tuple[int, int, int]) -> TruncatedNetwork:
    """Drop the top `count` stages and the layers between them and the classifier, which is replaced.

    `network` itself stays as it is; the new one shares its tensors. Raises CutUnsupported.
    """
    network = copy_modules(network).eval()
    if network.num_classes == 0:
        network.reset_classifier(1)
    if isinstance(network, GraphNetwork):
        return TruncatedNetwork(*drop_from_graph(network, count, input_size))
    classifier = network.get_classifier()
    is_head = isinstance(classifier, nn.Sequential)  # of a checkpoint: all of it is replaced
    if not can_be_output(classifier) and not is_head:
        raise CutUnsupported("drop_stages needs a backbone with one linear classifier; choose another, or drop none.")
    end = next(path for path, module in network.named_modules() if module is classifier)
    stages, between = _find_top(network, count, end, input_size)
    for path in (*stages, *between):
        network.set_submodule(path, nn.Identity())
    if is_head:
        network.set_submodule(end, nn.Sequential(nn.Flatten(), nn.LazyLinear(1)))
    else:
        network.set_submodule(end, nn.LazyLinear(1) if isinstance(classifier, nn.Linear) else nn.LazyConv2d(1, 1))
    try:
        network(torch.zeros(2, *input_size))
    except Exception as error:  # each architecture raises errors of its own
        raise CutUnsupported(f"This backbone cannot do without {', '.join(stages)} ({error}): drop none.") from error
    return TruncatedNetwork(network, [*stages, *between])


def _find_top(
    network: TimmNetwork, count: int, end: str, input_size: tuple[int, int, int]
) -> tuple[list[str], list[str]]:
    """Find the top `count` stages below the classifier, whose path is `end`, and the layers with weights above them."""
    cuts = inspect(network, input_size)["cuts"]
    order = list(dict.fromkeys(cut["stage"] for cut in cuts))
    found = find_stages([CandidateCut.from_dict(cut) for cut in cuts])
    own = [stage for stage in found if not _is_inside(end, stage) and not _is_inside(stage, end)]
    modules = dict(network.named_modules())
    if len(own) <= count or not modules.keys() >= set(own[-count:]):
        raise CutUnsupported(
            f"drop_stages is {count}; the top ones of this backbone's stages ({', '.join(own)}) cannot be dropped: "
            "drop fewer, or none."
        )
    stages = own[-count:]
    above = order[order.index(stages[0]) :]
    between = [
        path
        for path, module in modules.items()
        if not _is_inside(path, end)
        and list(module.parameters(recurse=False))
        and any(_is_inside(path, stage) for stage in above)
    ]
    return stages, [path for path in between if not any(_is_inside(path, stage) for stage in stages)]


def _is_inside(path: str, stage: str) -> bool:
    return f"{path}.".startswith(f"{stage}.")
