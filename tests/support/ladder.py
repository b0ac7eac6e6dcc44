"""Ladders of candidates in tests: a job whose images leave room for doubt, and what its events say."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from models.catalog.recipe import Recipe
from models.messages import CandidateTried, ProgressSaved, RecipeResolved
from models.pipeline.fine_tune import fine_tune
from tests.support.images import coloured_classes, write_zip
from tests.support.small_job import Job, small_job
from tests.support.small_pack import packed

if TYPE_CHECKING:
    from pathlib import Path

    from models.messages import Event


def doubtful_job(folder: Path, side: int = 32) -> Job:
    """A job of quality `balanced` on square images of which a third has a wrong label."""
    files = list(coloured_classes(3, 30, side).items())
    draw = random.Random(0)
    labels = [path.split("/")[0] for path, _ in files]
    wrong = [draw.choice(labels) if draw.random() < 0.5 else label for label in labels]
    mixed = {f"{label}/{number}.png": data for number, (label, (_, data)) in enumerate(zip(wrong, files, strict=True))}
    made = small_job(folder)
    pack = packed(write_zip(folder / "small.zip", mixed))
    return made._replace(pack=pack).change(recipe=Recipe(quality="balanced", image_size=32))


def list_tried(events: list[Event]) -> list[CandidateTried]:
    """The candidates that were tried or left out."""
    return [event for event in events if isinstance(event, CandidateTried)]


def find_best(events: list[Event]) -> CandidateTried:
    """The candidate that is delivered."""
    return [tried for tried in list_tried(events) if tried.is_better][-1]


def cut_off_anywhere(job: Job, after: int) -> tuple[list[Event], Job]:
    """Run a job until it has written `after` snapshots; the next attempt has the recipe of the job's row."""
    heard: list[Event] = []
    recipe = job.spec.recipe
    for event in fine_tune(*job.change(snapshot_seconds=0.0)):
        heard.append(event)
        if isinstance(event, RecipeResolved):
            recipe = Recipe.model_validate(event.recipe)
        if isinstance(event, ProgressSaved) and event.snapshot:
            after -= 1
            if not after:
                return heard, job.change(recipe=recipe, snapshot=job.checkpoint.with_name(event.snapshot))
    raise AssertionError("it ended before")


def timeless(tried: CandidateTried) -> dict[str, Any]:
    """A candidate without what depends on the time."""
    return tried.model_dump(exclude={"seconds", "seconds_per_image"})


def snapshots_within(events: list[Event]) -> list[int]:
    """Numbers of snapshots: one within each candidate, and the last."""
    count, found, is_within = 0, [], True
    for event in events:
        if isinstance(event, CandidateTried):
            is_within = True
        elif isinstance(event, ProgressSaved) and event.snapshot:
            count += 1
            if is_within:
                found.append(count)
            is_within = False
    return [*found, count]
