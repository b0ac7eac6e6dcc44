"""Accuracy of slices of a job's images: where its model is weak; the images behind a slice show why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.datasets.slicing import SIZES, build_finder
from service.jobs.intervals import compute_interval
from service.jobs.predictions import mark_right
from service.jobs.schemas import Slice, Slices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.datasets.pack_index import PackIndex
    from service.datasets.slicing import By
    from service.jobs.predictions import PredictionFile

SMALL = 30
"""Images below which a slice is small: the 95% interval of one in ten is then wider than 20 points."""
MOST_SLICES = 100
"""Slices that are listed; of more, those with the most images."""


def measure_slices(file: PredictionFile, index: PackIndex, classes: Sequence[str], split: str, by: By) -> Slices:
    """Measure the accuracy of each slice: the worst first, by the upper end of its interval; sizes in their order."""
    are_right = mark_right(file, split, index)
    counts: dict[str, list[int]] = {}
    find = build_finder(index, classes, by)
    for place, is_right in zip(file.list_places(split), are_right, strict=True):
        for name in find(place):
            counted = counts.setdefault(name, [0, 0])
            counted[0] += 1
            counted[1] += is_right
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
