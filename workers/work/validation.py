"""Datasets: validation, supervised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from models.catalog.losses import Task
from service.datasets import repository
from service.storage import Storage
from service.tables import Dataset
from workers.work.base import Attempt

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.database import Database
    from service.settings import Settings
    from workers.lease import Claim


class ValidationOrder(BaseModel):
    """What the validating child is told."""

    storage: str
    archive: str
    pack: str
    index: str
    most_bytes: int
    most_files: int


class Accepted(BaseModel):
    """The dataset is good, its pack and index are in the storage."""

    event: Literal["accepted"] = "accepted"
    task: Task
    classes: list[dict[str, Any]]
    images: int
    digest: str
    report: dict[str, Any]


class Rejected(BaseModel):
    """The dataset cannot be used."""

    event: Literal["rejected"] = "rejected"
    code: str
    message: str


_VERDICT: TypeAdapter[Accepted | Rejected] = TypeAdapter(Annotated[Accepted | Rejected, Field(discriminator="event")])


class DatasetAttempt(Attempt[Dataset]):
    """One attempt at the validation of one dataset."""

    module = "workers.entrypoints.validation"

    def __init__(self, database: Database, settings: Settings, claim: Claim[Dataset]) -> None:
        self.settings, self.claim = settings, claim
        self._storage = Storage(settings.storage)
        # A name for each attempt: one that lost its lease may still be writing.
        self._pack = f"{repository.get_folder(claim.id)}/pack.{claim.attempt}"
        self._index = f"{repository.get_folder(claim.id)}/index.{claim.attempt}"
        self._archive: str | None = None

    def begin(self, session: Session, row: Dataset) -> ValidationOrder:
        """The attempt begins."""
        assert row.archive is not None
        return ValidationOrder(
            storage=self.settings.storage,
            archive=row.archive,
            pack=self._pack,
            index=self._index,
            most_bytes=self.settings.max_archive_bytes,
            most_files=self.settings.max_archive_files,
        )

    def record(self, session: Session, row: Dataset, lines: list[bytes]) -> bool:
        """Write down the verdict."""
        self._archive = row.archive
        match _VERDICT.validate_json(lines[-1]):
            case Rejected(code=code, message=message):
                repository.reject(session, row, code, message)
            case Accepted() as accepted:
                said = accepted.model_dump(exclude={"event"})
                repository.accept(session, row, pack=self._pack, index=self._index, **said)
        return True

    def failed(self, session: Session, row: Dataset, cause: str, message: str) -> None:
        """The last attempt died: the dataset is given up."""
        self._archive = row.archive
        repository.reject(session, row, cause, message)

    def clean_up(self) -> None:
        """Drop the archive once there is a verdict: the pack has all that is needed of it."""
        if self._archive is not None:
            self._storage.delete(self._archive)
