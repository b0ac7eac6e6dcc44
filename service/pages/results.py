"""Results of a job as a person reads them: intervals of what was counted, and the classes that are confused most."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from service.jobs.intervals import Interval, compute_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.jobs.schemas import ComparedJob

PHASES = ("preparing", "caching", "training", "evaluating", "storing")
MOST_CELLS = 40
"""Classes up to which a confusion matrix is shown whole."""
CONFUSIONS = 12
SHADES = 9
COMPARED = ("accuracy", "balanced_accuracy", "map", "macro_f1", "calibration_error")


class ClassResult(NamedTuple):
    """Figures of one class."""

    name: str
    support: int
    recall: Interval
    precision: float
    f1: float
    average_precision: float | None


class Confusion(NamedTuple):
    """Images of a class that were taken for another."""

    truth: str
    predicted: str
    images: int
    share: float


class Cell(NamedTuple):
    """A cell of a confusion matrix: a number of images, and how dark it is, 0 to SHADES."""

    images: int
    shade: int


class Results(NamedTuple):
    """Results on the images of one split."""

    split: str
    images: int
    accuracy: Interval
    figures: dict[str, Any]
    classes: list[ClassResult]
    matrix: list[list[Cell]]
    confusions: list[Confusion]


def build(metrics: dict[str, Any] | None) -> Results | None:
    """Build the results of the test images, or of the validation images where there are none; None before the end."""
    split = "test" if (metrics or {}).get("test") else "validation"
    figures = (metrics or {}).get(split)
    if not figures:
        return None
    matrix: list[list[int]] = figures.get("confusion_matrix") or []
    names = [row["class"] for row in figures["per_class"]]
    rows = sum(row["support"] for row in figures["per_class"])
    images = sum(map(sum, matrix)) if matrix else rows
    return Results(
        split=split,
        images=images,
        accuracy=compute_interval(figures["accuracy"], images),
        figures=figures,
        classes=[_build_class(row) for row in figures["per_class"]],
        matrix=[[_shade(count, sum(row)) for count in row] for row in matrix] if len(matrix) <= MOST_CELLS else [],
        confusions=_find_confusions(matrix, names),
    )


def list_figures(jobs: Sequence[ComparedJob]) -> list[tuple[str, str, list[float | None]]]:
    """List the figures that any of the jobs has: name, split, and the value of each job."""
    rows = [
        (figure, split, [job.metrics.get(split, {}).get(figure) for job in jobs])
        for split in ("test", "validation")
        for figure in COMPARED
    ]
    return [row for row in rows if any(value is not None for value in row[2])]


def _build_class(row: dict[str, Any]) -> ClassResult:
    return ClassResult(
        row["class"],
        row["support"],
        compute_interval(row["recall"], row["support"]),
        row["precision"],
        row["f1"],
        row.get("average_precision"),
    )


def _shade(count: int, total: int) -> Cell:
    return Cell(count, math.ceil(SHADES * count / total) if total else 0)


def _find_confusions(matrix: list[list[int]], names: list[str]) -> list[Confusion]:
    """Find the pairs of classes that were confused most often."""
    pairs = [
        Confusion(names[truth], names[predicted], count, count / sum(row))
        for truth, row in enumerate(matrix)
        for predicted, count in enumerate(row)
        if count and truth != predicted
    ]
    return sorted(pairs, key=lambda pair: (-pair.images, -pair.share))[:CONFUSIONS]
