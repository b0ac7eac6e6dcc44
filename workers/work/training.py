"""Jobs: attempts at training."""

from __future__ import annotations

import logging
import shutil
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete

from models.catalog.recipe import Recipe
from models.messages import (
    EVENT,
    Diagnosed,
    EpochEnded,
    Event,
    Failed,
    Finished,
    Noted,
    Phase,
    PhaseStarted,
    Progressed,
    ProgressSaved,
    RecipeResolved,
)
from models.pipeline.spec import DatasetSpec, TrainingSpec
from service.cache import repository as caches
from service.checkpoints import blobs
from service.checkpoints import repository as checkpoints
from service.checkpoints.errors import CheckpointDamaged
from service.jobs import lifecycle, repository, snapshots
from service.tables import Dataset, Epoch, Job
from workers import cache_reporter, scratch
from workers.work.base import Attempt, InterruptRequested

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from service.database import Database
    from service.settings import Settings
    from service.tables import Snapshot
    from workers.lease import Claim

log = logging.getLogger(__name__)


class JobAttempt(Attempt[Job]):
    """One attempt at one job: its child fine-tunes, and its events become the job's rows."""

    module = "workers.entrypoints.training"

    def __init__(self, database: Database, settings: Settings, claim: Claim[Job]) -> None:
        self.database, self.settings, self.claim = database, settings, claim
        self.scratch = scratch.choose_folder(settings.scratch, claim)
        self._resumed_from: Snapshot | None = None
        self._is_damaged = False
        self._phase: Phase = "preparing"
        self._store_seconds = 0.0
        self._stored: dict[str, blobs.Manifest] = {}
        """Of files in the attempt's folder whose tensors are in the database."""
        self._taken: list[str] = []
        """Files of the last snapshots."""
        self._unneeded: Sequence[str] = []
        """Tensors of the snapshot that they replaced."""
        self._cache: str | None = None

    @property
    def can_save_progress(self) -> bool:
        """Whether the child computes features or trains."""
        return self._phase in ("caching", "training")

    def fetch_inputs(self) -> None:
        """Bring the job's newest snapshot to this machine. Raises OSError."""
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

    def start(self, session: Session, row: Job) -> TrainingSpec:
        """Start from the newest snapshot; forget what an earlier attempt measured after it."""
        lifecycle.start(session, row)
        if self._is_damaged:
            said = "The snapshot is damaged in the database; training begins anew"
            repository.add_event(session, row, "warning", "snapshot_damaged", said, {})
            snapshots.forget(session, row.id)
        done = 0 if self._resumed_from is None else self._resumed_from.epoch
        session.execute(delete(Epoch).where(Epoch.job_id == row.id, Epoch.epoch > done))
        row.seconds, row.progress, row.diagnosis = {}, {}, None
        other = None if row.other_dataset_id is None else session.get_one(Dataset, row.other_dataset_id)
        return TrainingSpec(
            job=row.id,
            storage=self.settings.storage,
            dataset=_dataset_spec(session.get_one(Dataset, row.dataset_id)),
            other_dataset=None if other is None else _dataset_spec(other),
            backbone=row.backbone,
            backbones=self.settings.backbones,
            recipe=Recipe.model_validate(row.recipe),
            device=self.settings.device,
            cache=self.settings.cache,
            cache_bytes=self.settings.cache_bytes,
            checkpoint=self.scratch / CHECKPOINT,
            snapshot=None if self._resumed_from is None else self.scratch / SNAPSHOT,
            snapshot_seconds=self.settings.snapshot_seconds,
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
            self._cache = cache_reporter.read_identity(self.settings)

    def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
        """Write events to the job; true if they end it. Raises ContentsCollected, InterruptRequested."""
        for line in lines:
            event = EVENT.validate_json(line)
            if isinstance(event, Finished | Failed) and row.status == "pausing":
                raise InterruptRequested  # paused all the same; once resumed, it soon ends
            match event:
                case Finished():
                    self._finish(session, row, event)
                    return True
                case Failed():
                    lifecycle.fail(session, row, event.code, event.message)
                    return True
            self._record(session, row, event)
        return False

    def confirm(self, lines: list[bytes]) -> None:
        """Remember the phase that was recorded."""
        for line in lines:
            event = EVENT.validate_json(line)
            if isinstance(event, PhaseStarted):
                self._phase = event.phase

    def fail(self, session: Session, row: Job, cause: str, message: str) -> None:
        """End the job as failed; the error lists how each attempt ended."""
        earlier = repository.crashes(session, row.id, limit=row.crashes - 1)
        causes = "".join(f" Attempt {attempt} ended before: {cause}." for attempt, cause in earlier)
        lifecycle.fail(session, row, cause, f"{message}{causes}")

    def crash(self, session: Session, row: Job, cause: str, message: str) -> None:
        """Requeue the job after a crash."""
        lifecycle.crash(session, row, cause, message)

    def postpone(self, session: Session, row: Job, cause: str, message: str, seconds: float) -> None:
        """Requeue the job, to be claimed after so many seconds."""
        lifecycle.postpone(session, row, cause, message, seconds)

    def drain(self, session: Session, row: Job) -> None:
        """Requeue the job because this worker is stopping."""
        lifecycle.drain(session, row)

    def interrupt(self, session: Session, row: Job) -> None:
        """End the cancelled job, or pause the pausing one."""
        lifecycle.interrupt(session, row)

    def clean_up(self, *, is_over: bool) -> None:
        """Remove the attempt's folder."""
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
            case RecipeResolved():
                row.recipe = event.recipe
            case Progressed():
                row.progress = event.model_dump(exclude={"event"})
            case EpochEnded():
                self._end_epoch(session, row, event)
            case Noted():
                self._note(session, row, event)
            case Diagnosed():
                row.diagnosis = event.diagnosis
            case ProgressSaved():
                self._secure(session, row, event)

    def _note(self, session: Session, row: Job, event: Noted) -> None:
        if event.kind == "snapshot_unreadable":  # all epochs are trained again
            session.execute(delete(Epoch).where(Epoch.job_id == row.id))
        repository.add_event(session, row, event.level, event.kind, event.message, event.data)

    def _begin_phase(self, session: Session, row: Job, event: PhaseStarted) -> None:
        self._end_phase(row, event.elapsed)
        row.phase = event.phase
        repository.add_event(session, row, "info", "phase", event.phase.capitalize(), {"phase": event.phase})

    def _end_phase(self, row: Job, elapsed: float) -> None:
        """Note how long the running phase took: the time that no earlier phase of this attempt took."""
        if elapsed and row.phase is not None:
            row.seconds = {**row.seconds, row.phase: round(elapsed - sum(row.seconds.values()), 3)}

    def _secure(self, session: Session, row: Job, event: ProgressSaved) -> None:
        """The job has got further, whatever becomes of this attempt."""
        row.crashes = 0
        if event.snapshot in self._stored:
            self._unneeded = snapshots.replace(session, row.id, self._stored[event.snapshot], event.epoch)

    def _end_epoch(self, session: Session, row: Job, event: EpochEnded) -> None:
        figures = event.model_dump(exclude={"event"})
        session.add(Epoch(job_id=row.id, **figures))
        accuracy, loss = event.validation_accuracy, event.validation_loss
        message = f"Epoch {event.epoch}: validation accuracy {accuracy:.1%}, loss {loss:.4f}"
        repository.add_event(session, row, "info", "epoch", message, figures)

    def _finish(self, session: Session, row: Job, event: Finished) -> None:
        self._end_phase(row, event.elapsed + self._store_seconds)
        row.cache = event.cache
        if self._cache is not None:
            caches.count(session, self._cache, event.cache)
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


def _dataset_spec(dataset: Dataset) -> DatasetSpec:
    assert dataset.pack is not None
    assert dataset.index is not None
    assert dataset.digest is not None
    classes = [entry["name"] for entry in dataset.classes]
    return DatasetSpec(pack=dataset.pack, index=dataset.index, classes=classes, digest=dataset.digest)


CHECKPOINT = "best.safetensors"
"""The checkpoint's name in an attempt's folder."""
SNAPSHOT = "resumed_from.safetensors"
"""The name of the snapshot that the attempt goes on from."""
