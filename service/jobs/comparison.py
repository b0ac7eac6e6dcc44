"""Compare jobs: their results side by side, and the fields of their recipes that differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.jobs.schemas import ComparedJob, Comparison

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service import tables

SPLITS = ("validation", "test")


def compare(jobs: Sequence[tables.Job], checkpoints: dict[str, list[str]]) -> Comparison:
    """Compare jobs, given the ids of the checkpoints of each."""
    data = [_build(job, checkpoints[job.id]) for job in jobs]
    digests = {job.images_digest for job in data}
    return Comparison(
        data=data,
        same_test_images=len(digests) == 1 and None not in digests,
        differences=find_differences([job.recipe for job in jobs]),
    )


def find_differences(recipes: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Find the fields, as paths, in which recipes differ, with the value of each recipe; None where one lacks it."""
    flat = [_flatten(recipe) for recipe in recipes]
    fields = dict.fromkeys(field for recipe in flat for field in recipe)
    values = {field: [recipe.get(field) for recipe in flat] for field in fields}
    return {field: each for field, each in values.items() if any(value != each[0] for value in each)}


def _build(job: tables.Job, checkpoints: list[str]) -> ComparedJob:
    metrics = {split: (job.metrics or {}).get(split) or {} for split in SPLITS}
    return ComparedJob(
        id=job.id,
        name=job.name,
        status=job.status,
        dataset=job.dataset_id,
        backbone=job.backbone,
        checkpoints=checkpoints,
        metrics={
            split: {name: value for name, value in figures.items() if isinstance(value, int | float)}
            for split, figures in metrics.items()
            if figures
        },
        images_digest=metrics["test"].get("images_digest"),
        seconds=job.seconds,
        stop_reason=job.stop_reason,
    )


def _flatten(recipe: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested fields to their paths; lists stay as they are."""
    flat: dict[str, Any] = {}
    for name, value in recipe.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
