"""Batch predictions: attempts at predicting for the images of a dataset."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter
from sqlalchemy.exc import SQLAlchemyError

from service import queued_work
from service.batch_predictions import repository
from service.predictions.protocol import NamedModel
from service.settings import Settings
from service.storage import Storage, StorageUnavailable
from service.tables import BatchPart, BatchPrediction, Dataset
from workers import scratch
from workers.work.queued import QueuedAttempt

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.database import Database
    from workers.lease import Claim

log = logging.getLogger(__name__)


class StoredPart(BaseModel):
    """The rows of consecutive images, in the storage."""

    event: Literal["stored_part"] = "stored_part"
    first: int
    """Position of its first image."""
    images: int
    errors: int
    """Images that cannot be opened."""
    key: str
    digest: str


class PredictionOrder(BaseModel):
    """Input of the predicting child."""

    settings: Settings
    """The worker's, but for temporary files."""
    folder: Path
    """Folder for temporary files."""
    storage_prefix: str
    """How the storage keys of the child's files begin."""
    pack: str
    index: str
    classes: list[str]
    """Classes of the dataset."""
    models: list[NamedModel]
    top_k: int
    coverage: float
    parts: list[StoredPart]
    """What earlier attempts have stored."""


class Progressed(BaseModel):
    """Progress; replaces the last report."""

    event: Literal["progressed"] = "progressed"
    percent: float
    images: int
    errors: int
    cached: int
    images_per_second: float | None
    eta_seconds: float | None


class Finished(BaseModel):
    """The results are in the storage."""

    event: Literal["finished"] = "finished"
    files: dict[str, Any]
    """{format: {"key", "bytes", "digest"}}."""


class Refused(BaseModel):
    """The models cannot predict; the message says why."""

    event: Literal["refused"] = "refused"
    code: str
    message: str


Message = StoredPart | Progressed | Finished | Refused
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="event")])


class PredictionAttempt(QueuedAttempt[BatchPrediction]):
    """One attempt at one batch prediction: its child predicts, and stores rows part by part."""

    module = "workers.entrypoints.predicting"

    def __init__(self, database: Database, settings: Settings, claim: Claim[BatchPrediction]) -> None:
        super().__init__(database, settings, claim)
        self._storage = Storage(settings.storage)
        self._scratch = scratch.choose_folder(settings.scratch, claim)
        self._parts: list[StoredPart] = []
        """Parts of earlier attempts that are whole."""
        self._keys: set[str] = set()
        """Files in the storage that are this attempt's to remove when no row names them any more."""

    @property
    def can_save_progress(self) -> bool:
        """True: the child stores the rows that it has."""
        return True

    def fetch_inputs(self) -> None:
        """Check what earlier attempts have stored: a damaged part, and all behind it, are computed again.

        Raises OSError.
        """
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        with self.database.reading() as session:
            parts = [_describe(part) for part in repository.find_parts(session, self.claim.id)]
        self._keys = {part.key for part in parts}
        self._parts = []
        for part in parts:
            if part.first != sum(each.images for each in self._parts) or not self._is_whole(part):
                log.warning("%s: the part %s is missing or damaged; computing it again", self.claim.id, part.key)
                break
            self._parts.append(part)

    def start(self, session: Session, row: BatchPrediction) -> PredictionOrder:
        """Start behind the rows that are stored."""
        done, errors = (sum(getattr(part, count) for part in self._parts) for count in ("images", "errors"))
        queued_work.start(session, row, f"{done:,} images that are stored" if done else "", {"images": done})
        repository.forget_parts(session, row.id, done)
        row.progress = {"percent": round(99 * done / row.images, 1), "images": done, "errors": errors}
        dataset = session.get_one(Dataset, row.dataset_id)
        assert dataset.pack is not None
        assert dataset.index is not None
        own = {
            "data": self._scratch,
            "cache_dir": self.settings.cache,
            "storage_url": self.settings.storage,
            "database_url": self.settings.database,
        }
        return PredictionOrder(
            settings=Settings.model_validate(self.settings.model_dump() | own),
            folder=self._scratch,
            storage_prefix=f"{repository.get_folder(row.id)}/{row.attempt}.",
            pack=dataset.pack,
            index=dataset.index,
            classes=[entry["name"] for entry in dataset.classes],
            models=[
                NamedModel(named.model, named.checkpoint_id)
                for named in repository.find_models(session, [row.id])[row.id]
            ],
            top_k=row.top_k,
            coverage=row.coverage,
            parts=self._parts,
        )

    def record(self, session: Session, row: BatchPrediction, lines: list[bytes]) -> bool:
        """Write messages to the row; true if they end the work."""
        for line in lines:
            match _MESSAGE.validate_json(line):
                case StoredPart() as part:
                    row.crashes = 0  # it has made progress, however this attempt ends
                    session.add(BatchPart(prediction_id=row.id, **part.model_dump(exclude={"event"})))
                case Progressed() as progressed:
                    row.progress = progressed.model_dump(exclude={"event"})
                case Finished(files=files):
                    row.files, errors = files, row.progress["errors"]
                    without = f", {errors:,} of them without predictions" if errors else ""
                    queued_work.succeed(session, row, f"{row.images:,} images{without}")
                    return True
                case Refused(code=code, message=message):
                    queued_work.fail(session, row, code, message)
                    return True
        return False

    def confirm(self, lines: list[bytes]) -> None:
        """Remember the files of parts that were recorded."""
        messages = [_MESSAGE.validate_json(line) for line in lines]
        self._keys |= {message.key for message in messages if isinstance(message, StoredPart)}

    def clean_up(self, *, is_over: bool) -> None:
        """Remove the attempt's folder, and the stored parts that no row names any more."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        if not self._keys:
            return
        try:
            with self.database.reading() as session:
                named = {part.key for part in repository.find_parts(session, self.claim.id)}
            for key in self._keys - named:
                self._storage.delete(key)
        except (SQLAlchemyError, StorageUnavailable) as error:
            log.warning("the sweep will remove the parts of %s: %s", self.claim.id, error)

    def _is_whole(self, part: StoredPart) -> bool:
        try:
            with self._storage.reading(part.key) as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == part.digest  # type: ignore[arg-type]
        except FileNotFoundError:
            return False


def _describe(part: BatchPart) -> StoredPart:
    return StoredPart(first=part.first, images=part.images, errors=part.errors, key=part.key, digest=part.digest)
