"""Jobs: training, supervised."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from sqlalchemy import delete

from models.catalog.recipe import Recipe
from models.messages import (
    EVENT,
    Diagnosed,
    EpochEnded,
    Event,
    Failed,
    Finished,
    HeadsSearched,
    Noted,
    Phase,
    PhaseStarted,
    Progressed,
    ProgressSaved,
    RecipeResolved,
)
from service.cache import repository as caches
from service.checkpoints import blobs
from service.checkpoints import repository as checkpoints
from service.checkpoints.errors import CheckpointDamaged
from service.jobs import lifecycle, repository, snapshots
from service.tables import Dataset, Epoch, Job
from workers import cache_reporter, scratch
from workers.work.base import Attempt, Interrupted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from service.database import Database
    from service.settings import Settings
    from service.tables import Snapshot
    from workers.lease import Claim

log = logging.getLogger(__name__)


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
    snapshot_seconds: float
    snapshot: Path | None
    """What to go on from."""
    other: OtherDataset | None = None
    """What pretraining uses."""


class JobAttempt(Attempt[Job]):
    """One attempt at one job."""

    module = "workers.entrypoints.training"

    def __init__(self, database: Database, settings: Settings, claim: Claim[Job]) -> None:
        self.database, self.settings, self.claim = database, settings, claim
        self.scratch = scratch.folder(settings.scratch, claim)
        self._resumed_from: Snapshot | None = None
        self._is_damaged = False
        self._phase: Phase = "preparing"
        self._phase_began = 0.0
        self._store_seconds = 0.0
        self._stored: dict[str, blobs.Manifest] = {}
        """Of files in the attempt's folder whose tensors are in the database."""
        self._taken: list[str] = []
        """Files of the last snapshots."""
        self._unneeded: Sequence[str] = []
        """Tensors of the snapshot that they replaced."""
        self._cache: str | None = None

    @property
    def can_secure(self) -> bool:
        """While it computes features, or trains."""
        return self._phase in ("caching", "training")

    def equip(self) -> None:
        """Bring the job's newest snapshot here. Raises OSError."""
        with self.database.reading() as session:
            found = snapshots.of_job(session, self.claim.id)
        if found is None:
            return
        self.scratch.mkdir(parents=True, exist_ok=True)
        try:
            with (self.scratch / SNAPSHOT).open("wb") as file:
                file.writelines(blobs.read(self.database, found, 0, found.bytes))
            self._resumed_from = found
        except CheckpointDamaged as error:
            log.warning("the snapshot of %s cannot be read, it begins anew: %s", self.claim.id, error)
            self._is_damaged = True

    def begin(self, session: Session, row: Job) -> TrainingOrder:
        """The attempt begins, from the newest snapshot: what an earlier one measured after it is forgotten."""
        lifecycle.start(session, row)
        if self._is_damaged:
            said = "The snapshot is damaged in the database; training begins anew"
            repository.add_event(session, row, "warning", "snapshot_damaged", said, {})
            snapshots.forget(session, row.id)
        done = 0 if self._resumed_from is None else self._resumed_from.epoch
        session.execute(delete(Epoch).where(Epoch.job_id == row.id, Epoch.epoch > done))
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
            snapshot_seconds=self.settings.snapshot_seconds,
            snapshot=None if self._resumed_from is None else self.scratch / SNAPSHOT,
            other=None if other is None else OtherDataset(pack=other.pack, index=other.index, classes=_names(other)),
        )

    def prepare(self, lines: list[bytes]) -> None:
        """Store the tensors of the newest snapshot, and of a finished checkpoint, by content.

        Doing it twice changes nothing. Raises ContentsCollected.
        """
        events = [EVENT.validate_json(line) for line in lines]
        taken = [event.snapshot for event in events if isinstance(event, ProgressSaved) and event.snapshot]
        self._tidy(taken)
        self._stored = {name: blobs.store(self.database, self.scratch / name) for name in taken[-1:]}
        if any(isinstance(event, Finished) for event in events):
            began = time.monotonic()
            self._stored[CHECKPOINT] = blobs.store(self.database, self.scratch / CHECKPOINT)
            self._store_seconds = time.monotonic() - began
            self._cache = cache_reporter.identity(self.settings)

    def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
        """Write down events; says whether the job has ended with them. Raises ContentsCollected, Unwanted."""
        for line in lines:
            event = EVENT.validate_json(line)
            if isinstance(event, Finished | Failed) and row.status == "pausing":
                raise Interrupted  # whoever pauses a job finds it paused; its end is near when it is resumed
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
        earlier = repository.find_crashes(session, row.id, limit=row.crashes - 1)
        history = "".join(f" Attempt {crash.attempt} ended before: {crash.cause}." for crash in earlier)
        lifecycle.fail(session, row, cause, f"{message}{history}")

    def postponed(self, session: Session, row: Job, cause: str, message: str, seconds: float) -> None:
        """What it needs was not there; another shall begin again after a while."""
        lifecycle.postpone(session, row, cause, message, seconds)

    def interrupted(self, session: Session, row: Job) -> None:
        """The job was cancelled or paused, and the child is gone."""
        lifecycle.interrupt(session, row)

    def hand_back(self, session: Session, row: Job) -> None:
        """This worker stops; another shall begin again."""
        lifecycle.drain(session, row)

    def clean_up(self) -> None:
        """Remove the attempt's files."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _tidy(self, taken: list[str]) -> None:
        """Remove what was needed until the last snapshots, but these, were written down."""
        blobs.discard(self.database, self._unneeded)
        for name in set(self._taken) - set(taken):
            (self.scratch / name).unlink(missing_ok=True)
        self._unneeded, self._taken = [], taken

    def _record(self, session: Session, row: Job, event: Event) -> None:
        match event:
            case PhaseStarted():
                self._begin_phase(session, row, event)
            case EpochEnded():
                self._end_epoch(session, row, event)
            case Noted():
                repository.add_event(session, row, event.level, event.kind, event.message, event.data)
            case HeadsSearched():
                self._record_trials(session, row, event)
            case ProgressSaved():
                self._secure(session, row, event)
            case RecipeResolved():
                row.recipe = event.recipe
            case Progressed() | Diagnosed():
                self._update_row(row, event)

    def _update_row(self, row: Job, event: Progressed | Diagnosed) -> None:
        if isinstance(event, Diagnosed):
            row.diagnosis = event.diagnosis
        else:
            row.progress = event.model_dump(exclude={"event"})

    def _record_trials(self, session: Session, row: Job, event: HeadsSearched) -> None:
        repository.replace_trials(session, row.id, [trial.model_dump() for trial in event.trials])
        repository.add_event(session, row, "info", "searched", event.message, {})

    def _begin_phase(self, session: Session, row: Job, event: PhaseStarted) -> None:
        self._end_phase(row, event.elapsed)
        row.phase = self._phase = event.phase
        repository.add_event(session, row, "info", "phase", event.phase.capitalize(), {"phase": event.phase})

    def _end_phase(self, row: Job, elapsed: float) -> None:
        """Note how long the phase took that was running, if one was."""
        if elapsed and row.phase is not None:
            row.seconds = {**row.seconds, row.phase: round(elapsed - self._phase_began, 3)}
        self._phase_began = elapsed

    def _secure(self, session: Session, row: Job, event: ProgressSaved) -> None:
        """The job has got further, whatever becomes of this attempt."""
        row.crashes = 0
        if event.snapshot in self._stored:
            self._unneeded = snapshots.replace(session, row.id, self._stored[event.snapshot], event.epoch)

    def _end_epoch(self, session: Session, row: Job, event: EpochEnded) -> None:
        figures = event.model_dump(exclude={"event"})
        session.add(Epoch(job_id=row.id, **figures))
        accuracy, loss = event.validation_accuracy, event.validation_loss
        said = f"Epoch {event.epoch}: validation accuracy {accuracy:.1%}, loss {loss:.4f}"
        repository.add_event(session, row, "info", "epoch", said, figures)

    def _finish(self, session: Session, row: Job, event: Finished) -> None:
        self._end_phase(row, event.elapsed + self._store_seconds)
        row.cache = event.cache
        if self._cache is not None:
            caches.add_savings(session, self._cache, event.cache)
        summary: dict[str, Any] = {part: event.metrics[part] for part in ("validation", "test")}
        checkpoints.publish(
            session,
            job_id=row.id,
            manifest=self._stored[CHECKPOINT],
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
SNAPSHOT = "resumed_from.safetensors"
"""The name of the snapshot that the attempt goes on from."""
