"""Jobs: attempts at training."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import delete

from models.catalog.recipe import Recipe
from models.messages import (
    EVENT,
    CandidateTried,
    CheckpointWritten,
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
from models.pipeline.spec import BackboneSpec, DatasetSpec, TrainingSpec, name_predictions, name_statistics
from service.cache import repository as caches
from service.checkpoints import blobs
from service.checkpoints import repository as checkpoints
from service.jobs import lifecycle, repository, snapshots
from service.models import publishing
from service.tables import Checkpoint, Dataset, Epoch, Job
from workers import cache_reporter, scratch
from workers.tracking.tracking import Tracking
from workers.work import backbone_files
from workers.work.base import Attempt, InterruptRequested, may_use_nvidia
from workers.work.snapshot_files import SnapshotFiles

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.orm import Session

    from service.checkpoints.manifests import Manifest
    from service.database import Database
    from service.settings import Settings
    from workers.lease import Claim

CHECKPOINT = "best.safetensors"
"""The checkpoint's name in an attempt's folder."""

TEACHER = "teacher"
"""The folder, in an attempt's folder, of the checkpoint that the recipe distils."""


class StoredFile(NamedTuple):
    """A checkpoint's file whose tensors are in the database, its prediction statistics and its predictions."""

    manifest: Manifest
    statistics: bytes
    predictions: bytes


class JobAttempt(Attempt[Job]):
    """One attempt at one job: its child fine-tunes, and its events become the job's rows."""

    module = "workers.entrypoints.training"

    def __init__(self, database: Database, settings: Settings, claim: Claim[Job]) -> None:
        self.database, self.settings, self.claim = database, settings, claim
        self.scratch = scratch.choose_folder(settings.scratch, claim)
        self._snapshots = SnapshotFiles(database, settings, claim, self.scratch, snapshots)
        self._tracking = Tracking(database, settings, claim)
        self._backbone_folders: dict[str, Path | None] = {}
        """By name, the folders with the files of uploaded backbones, and of checkpoints."""
        self._teacher_folder: Path | None = None
        """The folder with the file of the checkpoint that the recipe distils."""
        self._phase: Phase = "preparing"
        self._store_seconds = 0.0
        self._kept: dict[str, CheckpointWritten] = {}
        """Checkpoints beside the best epoch's that the child has written, by file."""
        self._stored: dict[str, StoredFile] = {}
        """Files of all checkpoints, by name, once their tensors are in the database."""
        self._cache: str | None = None
        self._lines: list[bytes] = []
        self._events: list[Event] = []
        """The events of the last batch of lines that was parsed."""

    @property
    def may_use_gpu(self) -> bool:
        """True unless the settings or the machine rule out NVIDIA's."""
        return may_use_nvidia(self.settings)

    @property
    def can_save_progress(self) -> bool:
        """True while the child computes features or trains."""
        return self._phase in ("caching", "training")

    def fetch_inputs(self) -> None:
        """Bring the newest snapshot, and the files of backbone and teacher, to this machine. Raises OSError."""
        self._snapshots.fetch()
        with self.database.reading() as session:
            job = session.get_one(Job, self.claim.id)
            named, distillation = repository.find_backbones(session, [job])[job.id], job.recipe.get("distillation")
        self._backbone_folders = {
            name: backbone_files.fetch(self.database, self.settings, name, self.scratch, f"backbone-{position}")
            for position, name in enumerate(named)
        }
        if distillation is not None:
            teacher = distillation["teacher"]
            self._teacher_folder = backbone_files.fetch(self.database, self.settings, teacher, self.scratch, TEACHER)

    def start(self, session: Session, row: Job) -> TrainingSpec:
        """Start from the newest snapshot; forget what an earlier attempt measured after it."""
        lifecycle.start(session, row)
        if self._snapshots.is_damaged:
            message = "The snapshot is missing or damaged in the storage; training starts over"
            repository.add_event(session, row, "warning", "snapshot_damaged", message, {})
            snapshots.forget(session, row.id)
        done = self._snapshots.epochs_done
        session.execute(delete(Epoch).where(Epoch.job_id == row.id, Epoch.epoch > done))
        row.seconds, row.progress, row.diagnosis = {}, {}, None
        commits = repository.find_backbone_commits(session, row)
        named = {
            name: BackboneSpec(name=name, folder=self._backbone_folders.get(name), commit=commits.get(name))
            for name in repository.find_backbones(session, [row])[row.id]
        }
        other = None if row.other_dataset_id is None else session.get_one(Dataset, row.other_dataset_id)
        return TrainingSpec(
            job=row.id,
            storage=self.settings.storage,
            dataset=describe_dataset(session.get_one(Dataset, row.dataset_id)),
            other_dataset=None if other is None else describe_dataset(other),
            backbone=named[row.backbone],
            backbones=tuple(named.values()) if len(named) > 1 else (),
            local_backbones=self.settings.backbones,
            teacher_folder=self._teacher_folder,
            recipe=Recipe.model_validate(row.recipe),
            device=self.settings.device,
            cache=self.settings.cache,
            cache_bytes=self.settings.cache_bytes,
            checkpoint=self.scratch / CHECKPOINT,
            snapshot=self._snapshots.resumed_from,
            snapshot_seconds=self.settings.snapshot_seconds,
        )

    def prepare(self, lines: list[bytes]) -> None:
        """Put the newest snapshot into the storage, and the tensors of finished checkpoints into the database.

        Doing it twice changes nothing. Raises ContentsCollected.
        """
        events = self._parse(lines)
        self._kept |= {event.file: event for event in events if isinstance(event, CheckpointWritten)}
        self._snapshots.put([event.snapshot for event in events if isinstance(event, ProgressSaved) and event.snapshot])
        if any(isinstance(event, Finished) for event in events):
            began = time.monotonic()
            self._stored = {name: self._store(self.scratch / name) for name in (CHECKPOINT, *self._kept)}
            self._store_seconds = time.monotonic() - began
            self._cache = cache_reporter.read_identity(self.settings)

    def record(self, session: Session, row: Job, lines: list[bytes]) -> bool:
        """Write events to the job; true if they end it. Raises ContentsCollected, InterruptRequested."""
        for event in self._parse(lines):
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
        """Remember the phase that was recorded, remove replaced snapshots, and tell experiment trackers of epochs."""
        for event in self._parse(lines):
            if isinstance(event, PhaseStarted):
                self._phase = event.phase
            elif isinstance(event, EpochEnded):
                self._tracking.update()
        self._snapshots.remove_replaced()

    def fail(self, session: Session, row: Job, cause: str, message: str) -> None:
        """End the job as failed; the error lists how each attempt ended."""
        earlier = repository.find_crashes(session, row.id, limit=row.crashes - 1)
        causes = "".join(f" Attempt {crash.attempt} ended before: {crash.cause}." for crash in earlier)
        lifecycle.fail(session, row, cause, f"{message}{causes}")

    def crash(self, session: Session, row: Job, cause: str, message: str) -> None:
        """Requeue the job after a crash."""
        lifecycle.crash(session, row, cause, message)

    def postpone(self, session: Session, row: Job, cause: str, message: str, seconds: float) -> None:
        """Requeue the job, to be claimed after `seconds`."""
        lifecycle.postpone(session, row, cause, message, seconds)

    def drain(self, session: Session, row: Job) -> None:
        """Requeue the job because this worker is stopping."""
        lifecycle.drain(session, row)

    def interrupt(self, session: Session, row: Job) -> None:
        """End the cancelled job, or pause the pausing one."""
        lifecycle.interrupt(session, row)

    def clean_up(self, *, is_over: bool) -> None:
        """Tell experiment trackers how the attempt ended, and remove its folder."""
        self._tracking.close()
        shutil.rmtree(self.scratch, ignore_errors=True)
        self._snapshots.clean_up()

    def _store(self, file: Path) -> StoredFile:
        beside = name_statistics(file).read_bytes(), name_predictions(file).read_bytes()
        return StoredFile(blobs.store(self.database, file), *beside)

    def _parse(self, lines: list[bytes]) -> list[Event]:
        """Parse a batch once, though it is prepared, recorded, perhaps again, and confirmed."""
        if lines is not self._lines:
            self._lines, self._events = lines, [EVENT.validate_json(line) for line in lines]
        return self._events

    def _record(self, session: Session, row: Job, event: Event) -> None:
        match event:
            case PhaseStarted():
                self._begin_phase(session, row, event)
            case EpochEnded():
                self._end_epoch(session, row, event)
            case Noted():
                self._note(session, row, event)
            case HeadsSearched() | CandidateTried():
                self._record_tried(session, row, event)
            case ProgressSaved():
                failure = self._snapshots.record(session, row, event)
                if failure is not None:
                    repository.add_event(session, row, "warning", "snapshot_failed", failure, {})
            case RecipeResolved() | Progressed() | Diagnosed():
                self._update_row(row, event)

    def _update_row(self, row: Job, event: RecipeResolved | Progressed | Diagnosed) -> None:
        if isinstance(event, RecipeResolved):
            row.recipe = event.recipe
        elif isinstance(event, Diagnosed):
            row.diagnosis = event.diagnosis
        else:
            row.progress = event.model_dump(exclude={"event"})

    def _record_tried(self, session: Session, row: Job, event: HeadsSearched | CandidateTried) -> None:
        if isinstance(event, CandidateTried):
            self._record_candidate(session, row, event)
            return
        repository.replace_trials(session, row.id, [trial.model_dump() for trial in event.trials])
        repository.add_event(session, row, "info", "searched", event.message, {})

    def _record_candidate(self, session: Session, row: Job, event: CandidateTried) -> None:
        figures = event.model_dump(exclude={"event"})
        repository.put_candidate(session, row.id, figures)
        if event.is_better:
            row.backbone = event.backbone
        del figures["recipe"]  # it is in the candidate's row
        repository.add_event(session, row, "info", "candidate_tried", event.describe(), figures)

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

    def _end_epoch(self, session: Session, row: Job, event: EpochEnded) -> None:
        figures = event.model_dump(exclude={"event"})
        balanced = event.validation_balanced_accuracy
        session.add(Epoch(job_id=row.id, **figures))
        words = "" if balanced is None else f", balanced {balanced:.1%}"
        message = (
            f"Epoch {event.epoch}: validation accuracy {event.validation_accuracy:.1%}{words}, "
            f"loss {event.validation_loss:.4f}"
        )
        repository.add_event(session, row, "info", "epoch", message, figures)

    def _finish(self, session: Session, row: Job, event: Finished) -> None:
        self._end_phase(row, event.elapsed + self._store_seconds)
        row.cache = event.cache
        if self._cache is not None:
            caches.add_savings(session, self._cache, event.cache)
        summary: dict[str, Any] = {part: event.metrics[part] for part in ("validation", "test")}

        def publish(file: str, kind: str, epoch: int, metrics: dict[str, Any]) -> Checkpoint:
            stored = self._stored[file]
            return checkpoints.publish(
                session,
                job_id=row.id,
                manifest=stored.manifest,
                kind=kind,
                epoch=epoch,
                metrics=metrics,
                classes=event.classes,
                statistics=stored.statistics,
                predictions=stored.predictions,
            )

        for kept in self._kept.values():
            publish(kept.file, kept.kind, kept.epoch, kept.metrics)
        publishing.publish(session, row, publish(CHECKPOINT, "best", event.epoch, summary))
        lifecycle.succeed(session, row, stop_reason=event.stop_reason, metrics=event.metrics)


def describe_dataset(dataset: Dataset) -> DatasetSpec:
    """Describe a dataset that is ready."""
    assert dataset.pack is not None
    assert dataset.index is not None
    assert dataset.digest is not None
    classes = [entry["name"] for entry in dataset.classes]
    return DatasetSpec(pack=dataset.pack, index=dataset.index, classes=classes, digest=dataset.digest)
