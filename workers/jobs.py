"""Jobs: training, supervised."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from sqlalchemy import delete

from models.catalog.recipe import Recipe
from models.events import (
    EVENT,
    Diagnosed,
    EpochEnded,
    Event,
    Failed,
    Finished,
    Noted,
    PhaseStarted,
    Progressed,
    RecipeResolved,
)
from service.cache import repository as caches
from service.checkpoints import contents
from service.checkpoints import repository as checkpoints
from service.jobs import lifecycle, repository
from service.tables import Dataset, Epoch, Job
from workers import cache, scratch

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.database import Database
    from service.settings import Settings
    from workers.leases import Claim


class OtherDataset(BaseModel):
    """The dataset that a recipe's pretraining names."""

    pack: str
    index: str
    classes: list[str]


class TrainingOrder(BaseModel):
    """What the training child is told."""

    job: str
    storage: str
    pack: str
    index: str
    dataset_digest: str
    classes: list[str]
    backbone: str
    recipe: Recipe
    device: str
    cache: Path
    cache_bytes: int
    backbones: Path | None
    scratch: Path
    """A folder of this attempt alone."""
    other: OtherDataset | None = None
    """What pretraining uses."""


class JobAttempt:
    """One attempt at one job."""

    module = "workers.children.training"

    def __init__(self, database: Database, settings: Settings, claim: Claim[Job]) -> None:
        self.database, self.settings, self.claim = database, settings, claim
        self.scratch = scratch.folder(settings.scratch, claim)
        self._manifest: contents.Manifest | None = None
        self._cache: str | None = None
        self._phase_began = 0.0
        self._store_seconds = 0.0

    def begin(self, session: Session, row: Job) -> TrainingOrder:
        """The attempt begins, from the start: what an earlier one measured is forgotten."""
        lifecycle.start(session, row)
        session.execute(delete(Epoch).where(Epoch.job_id == row.id))
        row.seconds, row.progress, row.diagnosis = {}, {}, None
        dataset = session.get_one(Dataset, row.dataset_id)
        assert dataset.pack is not None
        assert dataset.index is not None
        assert dataset.digest is not None
        other = None if row.other_dataset_id is None else session.get_one(Dataset, row.other_dataset_id)
        return TrainingOrder(
            job=row.id,
            storage=self.settings.storage,
            pack=dataset.pack,
            index=dataset.index,
            dataset_digest=dataset.digest,
            classes=_names(dataset),
            backbone=row.backbone,
            recipe=Recipe.model_validate(row.recipe),
            device=self.settings.device,
            cache=self.settings.cache,
            cache_bytes=self.settings.cache_bytes,
            backbones=self.settings.backbones,
            scratch=self.scratch,
            other=None if other is None else OtherDataset(pack=other.pack, index=other.index, classes=_names(other)),
        )

    def prepare(self, lines: list[bytes]) -> None:
        """Store the tensors of a finished checkpoint: by content, so that doing it twice changes nothing."""
        if any(isinstance(EVENT.validate_json(line), Finished) for line in lines):
            began = time.monotonic()
            self._manifest = contents.store(self.database, self.scratch / CHECKPOINT)
            self._store_seconds = time.monotonic() - began
            self._cache = cache.identity(self.settings)

    def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
        """Write down events; says whether the job has ended with them."""
        for line in lines:
            event = EVENT.validate_json(line)
            match event:
                case Finished():
                    self._finish(session, row, event)
                    return True
                case Failed():
                    lifecycle.fail(session, row, event.code, event.message)
                    return True
            self._record(session, row, event)
        return False

    def crashed(self, session: Session, row: Job, cause: str, message: str) -> None:
        """The attempt died before its work was done; another shall begin again."""
        lifecycle.crash(session, row, cause, message)

    def failed(self, session: Session, row: Job, cause: str, message: str) -> None:
        """The last attempt died: the job is given up."""
        lifecycle.fail(session, row, cause, message)

    def left_off(self, session: Session, row: Job) -> None:
        """The job was cancelled or paused, and the child is gone."""
        lifecycle.left_off(session, row)

    def hand_back(self, session: Session, row: Job) -> None:
        """This worker stops; another shall begin again."""
        lifecycle.requeue(session, row)

    def clean_up(self) -> None:
        """Remove the attempt's files."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _record(self, session: Session, row: Job, event: Event) -> None:
        match event:
            case PhaseStarted():
                self._begin_phase(session, row, event)
            case RecipeResolved():
                row.recipe = event.recipe
            case Progressed():
                row.progress = event.model_dump(exclude={"event"})
            case EpochEnded():
                self._end_epoch(session, row, event)
            case Noted():
                repository.add_event(session, row, event.level, event.kind, event.message, event.data)
            case Diagnosed():
                row.diagnosis = event.diagnosis

    def _begin_phase(self, session: Session, row: Job, event: PhaseStarted) -> None:
        self._end_phase(row, event.elapsed)
        row.phase = event.phase
        repository.add_event(session, row, "info", "phase", event.phase.capitalize(), {"phase": event.phase})

    def _end_phase(self, row: Job, elapsed: float) -> None:
        """Note how long the phase took that was running, if one was."""
        if elapsed and row.phase is not None:
            row.seconds = {**row.seconds, row.phase: round(elapsed - self._phase_began, 3)}
        self._phase_began = elapsed

    def _end_epoch(self, session: Session, row: Job, event: EpochEnded) -> None:
        figures = event.model_dump(exclude={"event"})
        session.add(Epoch(job_id=row.id, **figures))
        accuracy, loss = event.validation_accuracy, event.validation_loss
        said = f"Epoch {event.epoch}: validation accuracy {accuracy:.1%}, loss {loss:.4f}"
        repository.add_event(session, row, "info", "epoch", said, figures)

    def _finish(self, session: Session, row: Job, event: Finished) -> None:
        assert self._manifest is not None
        self._end_phase(row, event.elapsed + self._store_seconds)
        row.cache = event.cache
        if self._cache is not None:
            caches.count(session, self._cache, event.cache)
        summary: dict[str, Any] = {part: event.metrics[part] for part in ("validation", "test")}
        checkpoints.publish(
            session,
            job_id=row.id,
            manifest=self._manifest,
            kind="best",
            epoch=event.epoch,
            metrics=summary,
            classes=event.classes,
        )
        lifecycle.succeed(session, row, stop_reason=event.stop_reason, metrics=event.metrics)


def _names(dataset: Dataset) -> list[str]:
    return [entry["name"] for entry in dataset.classes]


CHECKPOINT = "best.safetensors"
"""The checkpoint's name in an attempt's folder."""
