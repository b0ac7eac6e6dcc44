"""Accuracy of slices of a job's images: where its model is weak; the images behind a slice show why."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, get_args

from service.datasets.slicing import SIZES, By, build_finder
from service.jobs.intervals import compute_interval
from service.jobs.predictions import KEPT, mark_right
from service.jobs.schemas import Slice, Slices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.datasets.pack_index import PackIndex
    from service.jobs.predictions import PredictionFile

SMALL = 30
"""Images below which a slice is small: the 95% interval of one in ten is then wider than 20 points."""
MOST_SLICES = 100
"""Slices that are listed; of more, those with the most images."""


def measure_slices(file: PredictionFile, index: PackIndex, classes: Sequence[str], split: str, by: By) -> Slices:
    """Measure the accuracy of each slice: the worst first, by the upper end of its interval; sizes in their order."""
    counts = _count_slices(file, index, tuple(classes), split, by)
    are_right = mark_right(file, split, index)
    overall = compute_interval(sum(are_right) / len(are_right) if are_right else 0.0, len(are_right))
    shown = sorted(counts.items(), key=lambda item: -item[1][0])[:MOST_SLICES]
    slices = []
    for name, (images, right) in shown:
        accuracy = compute_interval(right / images, images)
        slices.append(
            Slice(
                name=name,
                images=images,
                accuracy=accuracy,
                is_small=images < SMALL,
                is_worse=accuracy.high < overall.share,
            )
        )
    if by == "size":
        slices.sort(key=lambda each: SIZES.index(each.name))
    else:
        slices.sort(key=lambda each: (each.accuracy.high, -each.images, each.name))
    return Slices(
        split=split,
        by=by,
        images=len(are_right),
        accuracy=overall,
        slices=slices,
        left_out=len(counts) - len(shown),
    )


@lru_cache(maxsize=KEPT * len(get_args(By)))
def _count_slices(
    file: PredictionFile, index: PackIndex, classes: tuple[str, ...], split: str, by: By
) -> dict[str, tuple[int, int]]:
    """Count the images of each slice, and those of them that are right."""
    find = build_finder(index, classes, by)
    found: dict[str, list[int]] = {}
    for place, is_right in zip(file.list_places(split), mark_right(file, split, index), strict=True):
        for name in find(place):
            counted = found.setdefault(name, [0, 0])
            counted[0] += 1
            counted[1] += is_right
    return {name: (images, right) for name, (images, right) in found.items()}
