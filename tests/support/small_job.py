"""A small fine-tuning for tests: the small backbone on coloured images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from models.catalog.recipe import Recipe
from models.messages import Finished, ProgressSaved, RecipeResolved
from models.pipeline.fine_tune import fine_tune
from models.pipeline.spec import BackboneSpec, DatasetSpec, TrainingSpec
from tests.support.small_backbone import write_backbone
from tests.support.small_pack import small_pack

if TYPE_CHECKING:
    from models.datasets.pack import Pack
    from models.messages import Event
    from models.runtime.supervisor_callbacks import Context

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "use.md"
"""The page about using a checkpoint, whose snippets are run on many."""
CLASSES = ["blue", "green", "red"]


class Job(NamedTuple):
    """The arguments of `fine_tune`."""

    spec: TrainingSpec
    pack: Pack
    context: Context | None = None
    other_pack: Pack | None = None

    @property
    def checkpoint(self) -> Path:
        """The file that it writes."""
        return self.spec.checkpoint

    def change(self, **changes: Any) -> Job:
        """Copy the job with other values in its spec."""
        return self._replace(spec=self.spec.model_copy(update=changes))


def small_job(folder: Path, name: str = "best", **choices: object) -> Job:
    """A fine-tuning of the small backbone on 90 coloured images."""
    if not (folder / "backbones").exists():
        write_backbone(folder / "backbones" / "small")
    spec = TrainingSpec(
        job="job_test",
        storage=folder.as_uri(),
        dataset=DatasetSpec(pack="small.pack", index="small.index", classes=CLASSES, digest="0" * 64),
        backbone=BackboneSpec(name="local/small"),
        local_backbones=folder / "backbones",
        recipe=Recipe.model_validate({"epochs": 8, **choices}),
        device="cpu",
        cache=folder / "cache",
        cache_bytes=20 << 30,
        checkpoint=folder / f"{name}.safetensors",
    )
    return Job(spec, small_pack(folder, classes=3, each=30))


def last(events: list[Event]) -> Finished:
    """The last event of a fine-tuning."""
    assert isinstance(events[-1], Finished)
    return events[-1]


def cut_off(job: Job, after: int) -> tuple[list[Event], Job]:
    """Run a job until it has written `after` snapshots; gives its events, and the job that resumes from the last."""
    heard: list[Event] = []
    for event in fine_tune(*job.change(snapshot_seconds=0.0)):
        heard.append(event)
        if isinstance(event, ProgressSaved) and event.snapshot:
            after -= 1
            if not after:
                *_, resolved = (event.recipe for event in heard if isinstance(event, RecipeResolved))
                snapshot = job.checkpoint.with_name(event.snapshot)
                return heard, job.change(recipe=Recipe.model_validate(resolved), snapshot=snapshot)
    raise AssertionError("it ended before")
