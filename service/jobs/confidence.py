"""Confidence of a job's predictions: whether probabilities are right as often as they say, and what thresholds leave.

Probabilities are kept in half precision, of which there are at most 15,361 between 0 and 1, so predictions are counted
by their probability first, and everything else follows from the counts: that takes a hundred thousand images some
milliseconds without numpy.
"""

from __future__ import annotations

import operator
import struct
from array import array
from bisect import bisect_left
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, compress
from math import ceil
from typing import TYPE_CHECKING

from service.jobs.errors import ThresholdsOfAllClasses
from service.jobs.intervals import count_share
from service.jobs.predictions import mark_right
from service.jobs.schemas import (
    Calibration,
    ClassThreshold,
    ClassThresholds,
    ReliabilityBin,
    Threshold,
    Thresholds,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from service.datasets.pack_index import PackIndex
    from service.jobs.predictions import PredictionFile, PredictionList

BINS = 15
"""Bins of a reliability diagram, as those of the expected calibration error (models/evaluation/calibration.py)."""
CODES = 1 << 16
"""Number of bit patterns of a probability."""
HALF = 0.5
"""Probability from which on a class of several is predicted."""
GRID = (*(step / 20 for step in range(20)), 0.99)
"""Thresholds that are measured where none are asked for."""


@dataclass(frozen=True, eq=False)
class ProbabilityCounts:
    """Predictions counted by their probability."""

    codes: Sequence[int]
    """Bits of the probabilities."""
    probabilities: Sequence[float]
    """Those that occur, in rising order."""
    counts: Sequence[int]
    """Predictions of each probability."""
    rights: Sequence[int]
    """Those of them that are right."""
    counts_from: Sequence[int]
    """Predictions of each probability or a greater one; ends with 0."""
    rights_from: Sequence[int]

    @classmethod
    def count(cls, counts: Mapping[int, int], rights: Mapping[int, int]) -> ProbabilityCounts:
        """Sort counts by the bits of their probabilities, which order them as their values do."""
        ordered = sorted(counts)
        each, right = [counts[code] for code in ordered], [rights.get(code, 0) for code in ordered]
        return cls(
            ordered,
            struct.unpack(f"={len(ordered)}e", array("H", ordered).tobytes()),
            each,
            right,
            *([*accumulate(reversed(column), initial=0)][::-1] for column in (each, right)),
        )

    @classmethod
    def merge(cls, parts: Iterable[ProbabilityCounts]) -> ProbabilityCounts:
        """Merge the counts of several classes."""
        counts: Counter[int] = Counter()
        rights: Counter[int] = Counter()
        for part in parts:
            counts.update(dict(zip(part.codes, part.counts, strict=True)))
            rights.update(dict(zip(part.codes, part.rights, strict=True)))
        return cls.count(counts, rights)

    def count_from(self, threshold: float) -> tuple[int, int]:
        """Count the predictions of at least a probability, and those of them that are right."""
        place = bisect_left(self.probabilities, threshold)
        return self.counts_from[place], self.rights_from[place]


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Predictions of classes, by their numbers, for the images of a split, which may have several."""

    counted: Mapping[int, ProbabilityCounts]
    supports: Mapping[int, int]
    """Images that have each class."""
    exact_from: float
    """Least threshold from which on all is counted: less probable classes of an image may not be kept."""


def count_answers(file: PredictionFile, index: PackIndex, split: str, num_classes: int) -> ProbabilityCounts:
    """Count the most probable class of each image; of several labels, each class that is kept of each image."""
    if file.is_multi_label:
        return ProbabilityCounts.merge(count_classes(file, index, split, num_classes).counted.values())
    found = file.splits[split]
    answers = found.probabilities[:: file.kept]
    return ProbabilityCounts.count(Counter(answers), Counter(compress(answers, mark_right(file, split, index))))


def count_classes(
    file: PredictionFile, index: PackIndex, split: str, num_classes: int, chosen: int | None = None
) -> ClassCounts:
    """Count the predictions of each class, or of a chosen one, for images that may have several."""
    found = file.splits[split]
    codes, classes = found.probabilities, found.classes
    numbers = range(num_classes) if chosen is None else (chosen,)
    by_class: dict[int, dict[int, int]] = {number: {} for number in numbers}
    if chosen is None:
        # One number for a class and a probability: tuples take three times as long.
        for pair, count in Counter(map(operator.add, map(CODES.__mul__, classes), codes)).items():
            by_class[pair // CODES][pair % CODES] = count
    else:
        by_class[chosen] = Counter(compress(codes, map(chosen.__eq__, classes)))
    right: dict[int, list[int]] = {number: [] for number in numbers}
    supports = dict.fromkeys(numbers, 0)
    for row, place in enumerate(found.places):
        first = row * file.kept
        for label in index.find_labels(place):
            if label in supports:
                supports[label] += 1
                with suppress(ValueError):  # it is none of the most probable ones
                    right[label].append(codes[classes.index(label, first, first + file.kept)])
    least = max(codes[file.kept - 1 :: file.kept], default=0) if num_classes > file.kept else 0
    exact_from = struct.unpack("=e", struct.pack("=H", least))[0]
    counted = {number: ProbabilityCounts.count(by_class[number], Counter(right[number])) for number in numbers}
    return ClassCounts(counted, supports, exact_from)


def measure_calibration(found: PredictionList, split: str) -> Calibration:
    """Measure how often the probabilities of a job are right, beside the errors that the job measured itself."""
    file, kept = found.file, found.metrics.get("calibration") or {}
    errors = kept.get(split) or {}
    return Calibration(
        split=split,
        images=len(file.list_places(split)),
        classes_each=file.kept if file.is_multi_label else 1,
        temperature=kept.get("temperature"),
        error_before=errors.get("before", {}).get("calibration_error"),
        error_after=errors.get("after", {}).get("calibration_error"),
        bins=measure_bins(count_answers(file, found.index, split, len(found.classes))) if split in file.splits else [],
    )


def measure_thresholds(found: PredictionList, split: str, label: str | None, at: Sequence[float] | None) -> Thresholds:
    """Measure what thresholds leave, of all images, or where these may have several classes of each or of one.

    Raises LabelUnknown, ThresholdsOfAllClasses.
    """
    file, index, names = found.file, found.index, found.classes
    chosen = None if label is None else found.find_class(label)
    if label is not None and not file.is_multi_label:
        raise ThresholdsOfAllClasses(
            "Each image of this job has one class, so that one threshold counts for all classes: leave `label` out."
        )
    answer = Thresholds(split=split, images=len(file.list_places(split)), thresholds=[], classes=[], exact_from=0.0)
    if split not in file.splits:
        return answer
    if not file.is_multi_label:
        counted = count_answers(file, index, split, len(names))
        answer.thresholds = [measure_threshold(counted, threshold) for threshold in at or GRID]
        return answer
    measured, held_out = (count_classes(file, index, each, len(names), chosen) for each in (split, "validation"))
    thresholds = at or ((HALF,) if chosen is None else GRID)
    answer.exact_from = measured.exact_from
    answer.classes = [
        measure_class(held_out, measured, number, names[number], thresholds) for number in measured.counted
    ]
    return answer


def measure_bins(counted: ProbabilityCounts) -> list[ReliabilityBin]:
    """Measure in each of the bins how probable predictions are, and how many of them are right."""
    counts, rights, sums = [0] * BINS, [0] * BINS, [0.0] * BINS
    for probability, count, right in zip(counted.probabilities, counted.counts, counted.rights, strict=True):
        place = min(max(ceil(probability * BINS) - 1, 0), BINS - 1)
        counts[place] += count
        rights[place] += right
        sums[place] += probability * count
    return [
        ReliabilityBin(
            low=place / BINS,
            high=(place + 1) / BINS,
            count=counts[place],
            confidence=sums[place] / counts[place] if counts[place] else None,
            accuracy=count_share(rights[place], counts[place]),
        )
        for place in range(BINS)
    ]


def measure_threshold(counted: ProbabilityCounts, threshold: float) -> Threshold:
    """Measure how many images are answered at a threshold of the probability, and how many of them rightly."""
    answered, right = counted.count_from(threshold)
    images = counted.counts_from[0]
    return Threshold(
        threshold=threshold,
        answered=answered,
        share=answered / images if images else 0.0,
        accuracy=count_share(right, answered),
    )


def measure_class(
    held_out: ClassCounts, measured: ClassCounts, number: int, name: str, thresholds: Sequence[float]
) -> ClassThresholds:
    """Measure precision and recall of a class at thresholds, and at that of the best F1 on the validation images."""
    counted, support = measured.counted[number], measured.supports[number]
    best = _find_best(
        held_out.counted[number], held_out.supports[number], max(held_out.exact_from, measured.exact_from)
    )
    return ClassThresholds(
        name=name,
        images=support,
        best=None if best is None else _measure(counted, support, best),
        thresholds=[_measure(counted, support, threshold) for threshold in thresholds],
    )


def _measure(counted: ProbabilityCounts, support: int, threshold: float) -> ClassThreshold:
    predicted, hits = counted.count_from(threshold)
    return ClassThreshold(
        threshold=threshold,
        predicted=predicted,
        precision=count_share(hits, predicted),
        recall=count_share(hits, support),
        f1=2 * hits / (predicted + support) if predicted + support else 0.0,
    )


def _find_best(counted: ProbabilityCounts, support: int, exact_from: float) -> float | None:
    """Find the threshold of the greatest F1, of equal ones that nearest to 1/2.

    None where no image has the class, or it is counted at no exact threshold.
    """
    if not support:
        return None
    found = [
        (2 * rights / (counts + support), -abs(probability - HALF), probability)
        for probability, counts, rights in zip(
            counted.probabilities, counted.counts_from[:-1], counted.rights_from[:-1], strict=True
        )
        if probability >= exact_from and probability > 0
    ]
    return max(found)[2] if found else None
