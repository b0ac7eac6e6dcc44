"""Checkpoints: attempts at an export in another format."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from models.catalog.recipe import Recipe
from service.checkpoints import blobs
from service.checkpoints import repository as checkpoints
from service.checkpoints.errors import CheckpointDamaged, CheckpointNotFound
from service.exports import repository
from service.storage import Storage
from service.tables import Checkpoint, Dataset, Export, Job
from workers import scratch
from workers.work.base import Attempt

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.database import Database
    from service.settings import Settings
    from workers.lease import Claim

CHECKPOINT = "model.safetensors"
"""The checkpoint's name in the folder of a backbone."""


class ExportOrder(BaseModel):
    """Input of the exporting child."""

    checkpoint: str
    folder: Path
    """Has the checkpoint's file, as a backbone's folder has."""
    file: Path
    """The file to write."""
    format: str
    options: dict[str, Any]
    storage: str
    pack: str
    index: str
    recipe: Recipe
    """Of the job, by which its images were split."""
    damage: str | None
    """Why the checkpoint's file could not be read; null if it could."""


class Exported(BaseModel):
    """The file is written."""

    event: Literal["exported"] = "exported"
    report: dict[str, Any]


class Refused(BaseModel):
    """The checkpoint cannot be exported so; the message says why."""

    event: Literal["refused"] = "refused"
    code: str
    message: str


_VERDICT: TypeAdapter[Exported | Refused] = TypeAdapter(Annotated[Exported | Refused, Field(discriminator="event")])


class ExportAttempt(Attempt[Export]):
    """One attempt at an export of one checkpoint."""

    module = "workers.entrypoints.exporting"

    def __init__(self, database: Database, settings: Settings, claim: Claim[Export]) -> None:
        self.database, self.settings, self.claim = database, settings, claim
        self._storage = Storage(settings.storage)
        self._scratch = scratch.choose_folder(settings.scratch, claim)
        self._damage: str | None = None
        self._stored: dict[str, Any] = {}
        """Key, size and digest of the file, once it is in the storage."""

    @property
    def _file(self) -> Path:
        return self._scratch / "export"

    def fetch_inputs(self) -> None:
        """Write the checkpoint's file into a folder of the attempt. Raises OSError."""
        folder = self._scratch / "checkpoint"
        shutil.rmtree(self._scratch, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            with self.database.reading() as session:
                export = session.get(Export, self.claim.id)
                checkpoint = checkpoints.get(session, export.checkpoint_id if export else "")
            blobs.copy_to_file(self.database, checkpoint, folder / CHECKPOINT)
        except (CheckpointDamaged, CheckpointNotFound) as error:
            self._damage = str(error)

    def start(self, session: Session, row: Export) -> ExportOrder:
        """Order the export."""
        job = session.get_one(Job, session.get_one(Checkpoint, row.checkpoint_id).job_id)
        dataset = session.get_one(Dataset, job.dataset_id)
        assert dataset.pack is not None
        assert dataset.index is not None
        return ExportOrder(
            checkpoint=row.checkpoint_id,
            folder=self._scratch / "checkpoint",
            file=self._file,
            format=row.format,
            options=row.options,
            storage=self.settings.storage,
            pack=dataset.pack,
            index=dataset.index,
            recipe=Recipe.model_validate(job.recipe),
            damage=self._damage,
        )

    def prepare(self, lines: list[bytes]) -> None:
        """Put the file into the storage, under its content. Doing it twice changes nothing."""
        if self._stored or not lines or not isinstance(_VERDICT.validate_json(lines[-1]), Exported):
            return
        with self._file.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = self._file.stat().st_size
        key = f"{repository.get_folder(self.claim.id)}/{digest}.{self.claim.attempt}"
        self._storage.put(self._file, key)
        self._stored = {"file": key, "size": size, "digest": digest}

    def record(self, session: Session, row: Export, lines: list[bytes]) -> bool:
        """Write the verdict to the export."""
        match _VERDICT.validate_json(lines[-1]):
            case Refused(code=code, message=message):
                repository.reject(session, row, code, message)
            case Exported(report=report):
                repository.accept(session, row, report=report, **self._stored)
        return True

    def fail(self, session: Session, row: Export, cause: str, message: str) -> None:
        """End the export as failed: it kept crashing."""
        repository.reject(session, row, cause, message)

    def clean_up(self, *, is_over: bool) -> None:
        """Remove the attempt's folder."""
        shutil.rmtree(self._scratch, ignore_errors=True)
