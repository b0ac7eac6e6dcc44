"""Candidates of a job with a `quality`: what it has tried, and the Pareto front among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.jobs.intervals import Interval, compute_interval
from service.pagination import Identified

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service import tables


class Candidate(Identified):
    """A recipe and a backbone that a job has tried or left out, with figures on the validation images, and costs."""

    number: int
    """1, 2, … in the order in which they were tried."""
    name: str
    backbone: str
    recipe: dict[str, Any]
    """Resolved where it was tried: a job with it and the backbone, on the same dataset, delivers this candidate, if
    neither the time budget nor a stop cut it short."""
    reason: str | None
    """Why it was left out; null where it was tried."""
    is_best: bool
    """Whether it is the best so far; in the end it is delivered."""
    is_pareto: bool
    """Whether no other is at least as accurate, as quickly trained, as small and as quick to answer, and better in one
    of these."""
    validation_accuracy: Interval | None
    """Share of the validation images that it classifies correctly; of several labels, share of the labels. The test
    images are only looked at by what is delivered."""
    validation_loss: float | None
    """Of the calibrated probabilities."""
    epochs: int | None
    """Number of epochs that it was trained."""
    seconds: float
    """Time to try it."""
    checkpoint_bytes: int | None
    """Bytes of the tensors of its checkpoint."""
    seconds_per_image: float | None
    """Time of one answer on the worker, in PyTorch's eager mode, decoding not included."""


def build_candidates(rows: Sequence[tables.Candidate]) -> list[Candidate]:
    """Build the JSON of all candidates of a job, in the order in which they were tried."""
    best = max((row.number for row in rows if row.is_better), default=0)
    tried = {row.number: _list_costs(row) for row in rows if row.reason is None}
    return [
        Candidate(
            id=row.id,
            number=row.number,
            name=row.name,
            backbone=row.backbone,
            recipe=row.recipe,
            reason=row.reason,
            is_best=row.number == best,
            is_pareto=row.number in tried and not any(_dominates(other, tried[row.number]) for other in tried.values()),
            validation_accuracy=None
            if row.validation_accuracy is None or row.validation_images is None
            else compute_interval(row.validation_accuracy, row.validation_images),
            validation_loss=row.validation_loss,
            epochs=row.epochs,
            seconds=row.seconds,
            checkpoint_bytes=row.checkpoint_bytes,
            seconds_per_image=row.seconds_per_image,
        )
        for row in rows
    ]


def _list_costs(row: tables.Candidate) -> tuple[float, ...]:
    """List what is the better the smaller it is; what was not measured costs nothing."""
    figures = (row.checkpoint_bytes, row.seconds_per_image)
    return (-(row.validation_accuracy or 0.0), row.seconds, *(figure or 0.0 for figure in figures))


def _dominates(costs: tuple[float, ...], others: tuple[float, ...]) -> bool:
    return costs != others and all(cost <= other for cost, other in zip(costs, others, strict=True))
