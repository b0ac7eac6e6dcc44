"""Backbones: attempts at their pretraining on the images of a dataset."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from models.catalog.backbone_pretraining import BackboneMethod
from models.messages import Failed, Noted, Progressed, ProgressSaved
from models.pipeline.spec import BackboneSpec, PretrainingSpec
from models.pretraining.messages import PRETRAINING_EVENT, BackbonePretrained, EpochPretrained
from service.backbones import imports, pretraining, snapshots
from service.tables import Backbone, Dataset
from workers.work import backbone_files
from workers.work.backbone_attempt import BackboneAttempt
from workers.work.base import may_use_nvidia
from workers.work.snapshot_files import SnapshotFiles
from workers.work.training import describe_dataset

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.orm import Session

    from models.pretraining.messages import PretrainingEvent
    from service.database import Database
    from service.settings import Settings
    from workers.lease import Claim

_METHOD: TypeAdapter[BackboneMethod] = TypeAdapter(BackboneMethod)


class PretrainingAttempt(BackboneAttempt):
    """One attempt at one pretraining: its child trains, and its messages become the backbone's events and files."""

    module = "workers.entrypoints.pretraining"

    def __init__(self, database: Database, settings: Settings, claim: Claim[Backbone]) -> None:
        super().__init__(database, settings, claim)
        self._snapshots = SnapshotFiles(database, settings, claim, self._scratch, snapshots)
        self._source_folder: Path | None = None
        """The folder with the files of the backbone to start from, where it is an uploaded one or a checkpoint."""
        self._has_trained = False

    @property
    def may_use_gpu(self) -> bool:
        """True unless the settings or the machine rule out NVIDIA's."""
        return may_use_nvidia(self.settings)

    @property
    def can_save_progress(self) -> bool:
        """True once the child trains."""
        return self._has_trained

    def fetch_inputs(self) -> None:
        """Bring the newest snapshot, and the files of the backbone to start from, to this machine. Raises OSError."""
        self._snapshots.fetch()
        with self.database.reading() as session:
            source = session.get_one(Backbone, self.claim.id).pretrained_from
        assert source is not None
        self._source_folder = backbone_files.fetch(self.database, self.settings, source, self._scratch)

    def start(self, session: Session, row: Backbone) -> PretrainingSpec:
        """Start from the newest snapshot."""
        imports.start(session, row)
        if self._snapshots.resumed_from is None:
            row.progress = {}
        if self._snapshots.is_damaged:
            message = "The snapshot is missing or damaged in the storage; training starts over"
            imports.add_event(session, row, "warning", "snapshot_damaged", message, {})
            row.snapshot = None
        assert row.pretraining is not None
        assert row.pretrained_from is not None
        return PretrainingSpec(
            storage=self.settings.storage,
            dataset=describe_dataset(session.get_one(Dataset, row.dataset_id)),
            backbone=BackboneSpec(name=row.pretrained_from, folder=self._source_folder),
            local_backbones=self.settings.backbones,
            method=_METHOD.validate_python(row.pretraining["method"]),
            image_size=row.pretraining["image_size"],
            seed=row.pretraining["seed"],
            device=self.settings.device,
            folder=self._result,
            snapshot=self._snapshots.resumed_from,
            snapshot_seconds=self.settings.snapshot_seconds,
        )

    def prepare(self, lines: list[bytes]) -> None:
        """Put the newest snapshot, and the files of the new backbone, into the storage. Twice changes nothing."""
        events = _parse(lines)
        self._snapshots.put([event.snapshot for event in events if isinstance(event, ProgressSaved) and event.snapshot])
        for event in events:
            for name, written in event.files.items() if isinstance(event, BackbonePretrained) else ():
                self._put_file(name, written)

    def record(self, session: Session, row: Backbone, lines: list[bytes]) -> bool:
        """Write messages to the backbone; true if they end its pretraining."""
        for event in _parse(lines):
            match event:
                case Failed(code=code, message=message):
                    pretraining.reject(session, row, code, message)
                    return True
                case BackbonePretrained():
                    self._accept(session, row, event)
                    return True
                case _:
                    self._record(session, row, event)
        return False

    def confirm(self, lines: list[bytes]) -> None:
        """Remove replaced snapshots, and remember that the child trains."""
        self._has_trained = self._has_trained or any(isinstance(event, Progressed) for event in _parse(lines))
        self._snapshots.remove_replaced()

    def fail(self, session: Session, row: Backbone, cause: str, message: str) -> None:
        """End the pretraining as failed: it kept crashing."""
        pretraining.reject(session, row, cause, message)

    def clean_up(self, *, is_over: bool) -> None:
        """Remove the attempt's folder, and snapshots that the row does not name."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._snapshots.clean_up()

    def _record(
        self, session: Session, row: Backbone, event: Progressed | Noted | ProgressSaved | EpochPretrained
    ) -> None:
        match event:
            case Progressed():
                row.progress = event.model_dump(exclude={"event"})
            case EpochPretrained(epoch=epoch, loss=loss):
                figures = event.model_dump(exclude={"event"})
                imports.add_event(session, row, "info", "epoch", f"Epoch {epoch}: loss {loss:.4f}", figures)
            case Noted():
                imports.add_event(session, row, event.level, event.kind, event.message, event.data)
            case ProgressSaved():
                failure = self._snapshots.record(session, row, event)
                if failure is not None:
                    imports.add_event(session, row, "warning", "snapshot_failed", failure, {})

    def _accept(self, session: Session, row: Backbone, event: BackbonePretrained) -> None:
        pretraining.accept(
            session,
            row,
            summary=event.summary.model_dump(mode="json"),
            files=dict(self._files),
            inspection=event.inspection,
            figures=event.model_dump(include={"images", "losses", "from_digest", "digest", "seconds"}),
        )


def _parse(lines: list[bytes]) -> list[PretrainingEvent]:
    return [PRETRAINING_EVENT.validate_json(line) for line in lines]
