"""Datasets: attempts at validation."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from service.datasets import repository
from service.storage import Storage, StorageUnavailable
from service.tables import Dataset
from service.types import DatasetTask
from workers.work.base import Attempt

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.database import Database
    from service.settings import Settings
    from workers.lease import Claim

log = logging.getLogger(__name__)


class ValidationOrder(BaseModel):
    """Input of the validating child."""

    storage: str
    archive: str
    pack: str
    index: str
    skipped: str
    most_bytes: int
    most_files: int
    is_labelled: bool


class Accepted(BaseModel):
    """The dataset is valid; its pack, its index and the list of skipped files are in the storage."""

    event: Literal["accepted"] = "accepted"
    task: DatasetTask
    classes: list[dict[str, Any]]
    images: int
    digest: str
    report: dict[str, Any]


class Rejected(BaseModel):
    """The dataset is invalid; the message names what to change."""

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
        # Names of its own for each attempt: one that lost its lease may still be writing.
        self._pack = f"{repository.get_folder(claim.id)}/pack.{claim.attempt}"
        self._index = f"{repository.get_folder(claim.id)}/index.{claim.attempt}"
        self._skipped = f"{repository.get_folder(claim.id)}/skipped.{claim.attempt}"
        self._archive: str | None = None
        """Storage key of the upload."""

    def start(self, session: Session, row: Dataset) -> ValidationOrder:
        """Order the validation of the uploaded archive."""
        assert row.archive is not None
        self._archive = row.archive
        return ValidationOrder(
            storage=self.settings.storage,
            archive=row.archive,
            pack=self._pack,
            index=self._index,
            skipped=self._skipped,
            most_bytes=self.settings.max_archive_bytes,
            most_files=self.settings.max_archive_files,
            is_labelled=row.labels != "none",
        )

    def record(self, session: Session, row: Dataset, lines: list[bytes]) -> bool:
        """Write the verdict to the dataset."""
        match _VERDICT.validate_json(lines[-1]):
            case Rejected(code=code, message=message):
                repository.reject(session, row, code, message)
            case Accepted() as accepted:
                columns = accepted.model_dump(exclude={"event"})
                repository.accept(session, row, pack=self._pack, index=self._index, skipped=self._skipped, **columns)
        return True

    def fail(self, session: Session, row: Dataset, cause: str, message: str) -> None:
        """Reject the dataset: its validation kept crashing."""
        self._archive = row.archive
        repository.reject(session, row, cause, message)

    def clean_up(self, *, is_over: bool) -> None:
        """Delete the archive once there is a verdict: the pack holds all that is needed of it."""
        if is_over and self._archive is not None:
            try:
                self._storage.delete(self._archive)
            except StorageUnavailable as error:
                log.warning("the sweep will remove %s: %s", self._archive, error)
