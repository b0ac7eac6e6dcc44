"""Choices of the ladder: which backbones go on, and how large their images are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from models.backbones import read_config
from models.networks.image_sizes import InputSizeUnsupported

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from models.datasets.pack import Pack
    from models.pipeline.spec import BackboneSpec

    Tried = Mapping[str, Any]
    """The fields of a CandidateTried."""

GROWTH = 1.5
"""Longer side of larger images, as a multiple of the network's own."""


class ImagesTooSmall(Exception):
    """Larger images would show the network nothing more."""


def find_best_of_each(tried: Sequence[Tried]) -> dict[str, Tried]:
    """Find the best candidate of each backbone, the backbone of the best one of all first.

    The others are ordered by validation loss, and so is which candidate of theirs is the best.
    """
    usable = [one for one in tried if one["reason"] is None]
    best = [one for one in usable if one["is_better"]][-1:]
    found: dict[str, Tried] = {}
    for one in (*best, *sorted(usable, key=lambda one: one["validation_loss"])):
        found.setdefault(one["backbone"], one)
    return found


def keep_better_half(backbones: Sequence[str], tried: Sequence[Tried]) -> list[str]:
    """Keep the better half of the backbones that can be used, rounded down, but at least one; the best comes first."""
    usable = [name for name in find_best_of_each(tried) if name in backbones]
    return usable[: max(1, len(backbones) // 2)]


def choose_larger_side(backbone: BackboneSpec, local: Path | None, side: int, pack: Pack) -> int:
    """Choose the longer side of larger images: about GROWTH times `side`, the network's own, and one that it takes.

    local: the directory of local backbones. Raises ImagesTooSmall, BackboneError, InputSizeUnsupported.
    """
    median = int(np.median(pack.shorter_sides))
    if median <= side:
        raise ImagesTooSmall(
            f"half of the images have no more than {median} pixels a side, and the network sees {side}"
        )
    wanted = round(GROWTH * side)
    try:
        read_config(backbone.name, local, backbone.folder).resize_to(wanted)
    except InputSizeUnsupported as error:
        larger = [size for size in error.nearest if size > side]
        if not larger:
            raise
        return larger[0]
    return wanted
