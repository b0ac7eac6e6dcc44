"""Shortening: leaves out a network's top stages, so that new layers can stand in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from models.catalog.cuts import Place, stages
from models.networks.candidate_cuts import inspect
from models.networks.classifier import can_be_last
from models.networks.cut_network import CutUnsupported

if TYPE_CHECKING:
    from models.networks.types import TimmNetwork


@torch.no_grad()
def shorten(network: TimmNetwork, count: int, input_size: tuple[int, int, int]) -> list[str]:
    """Leave out the top `count` stages and the layers between them and the classifier, which is renewed.

    Gives the paths of the modules in whose place nn.Identity now stands. Raises CutUnsupported.
    """
    network.eval()
    if network.num_classes == 0:
        network.reset_classifier(1)
    classifier = network.get_classifier()
    if not can_be_last(classifier):
        raise CutUnsupported("drop_stages needs a backbone with one linear classifier; choose another, or drop none.")
    end = next(path for path, module in network.named_modules() if module is classifier)
    dropped, between = _top(network, count, end, input_size)
    for path in (*dropped, *between):
        network.set_submodule(path, nn.Identity())
    is_linear = isinstance(classifier, nn.Linear)
    network.set_submodule(end, nn.LazyLinear(1) if is_linear else nn.LazyConv2d(1, 1))
    try:
        network(torch.zeros(2, *input_size))
    except Exception as error:  # each architecture has its own words for it
        raise CutUnsupported(f"This backbone cannot do without {', '.join(dropped)} ({error}): drop none.") from error
    return [*dropped, *between]


def _top(network: TimmNetwork, count: int, end: str, input_size: tuple[int, int, int]) -> tuple[list[str], list[str]]:
    """The top `count` stages below the classifier, which is at the path `end`, and what has weights above them."""
    cuts = inspect(network, input_size)["cuts"]
    order = list(dict.fromkeys(cut["stage"] for cut in cuts))
    own = [stage for stage in stages([Place.of(cut) for cut in cuts]) if not _lies_in(end, stage)]
    modules = dict(network.named_modules())
    if len(own) <= count or not modules.keys() >= set(own[-count:]):
        raise CutUnsupported(
            f"drop_stages is {count}; the top ones of this backbone's stages ({', '.join(own)}) cannot be left out: "
            "drop fewer, or none."
        )
    dropped = own[-count:]
    above = order[order.index(dropped[0]) :]
    between = [
        path
        for path, module in modules.items()
        if path != end and list(module.parameters(recurse=False)) and any(_lies_in(path, stage) for stage in above)
    ]
    return dropped, [path for path in between if not any(_lies_in(path, stage) for stage in dropped)]


def _lies_in(path: str, stage: str) -> bool:
    return f"{path}.".startswith(f"{stage}.")
