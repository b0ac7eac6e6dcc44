"""Backbones: attempts at the import of an uploaded file."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from models.importers.events import IMPORT_EVENT, Imported, Progressed, Rejected
from models.importers.request import ImportRequest
from service.backbones import imports
from service.backbones.options import ImportOptions
from service.storage import StorageUnavailable
from service.tables import Backbone
from service.uploads import parts
from workers.work.backbone_attempt import BackboneAttempt

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from models.importers.events import ImportEvent
    from service.database import Database
    from service.settings import Settings
    from workers.lease import Claim

log = logging.getLogger(__name__)

ADVICE = {
    "out_of_memory": "Send a smaller network, or give the worker's children more memory (GRAFT_MEMORY_BYTES).",
    "cpu_time_exceeded": "Send a smaller network, or raise the limit (GRAFT_IMPORT_CPU_SECONDS).",
    "killed_by_signal": "A library that reads such files crashed on this one. Export the network again, or as ONNX.",
    "internal_error": "Export the network in another format, such as ONNX, and send that.",
}
"""What to do about a crash, by its cause."""


class ImportOrder(BaseModel):
    """Input of the importing child."""

    request: ImportRequest
    scratch: Path
    """A folder for temporary files, and the only one that the child may write in, beside that of the request."""
    most_cpu_seconds: int
    most_file_bytes: int


class ImportAttempt(BackboneAttempt):
    """One attempt at the import of one uploaded file, which a locked-down child reads."""

    module = "workers.entrypoints.importing"
    retries_own_faults: ClassVar[bool] = False  # a file that crashes its reader does so each time

    def __init__(self, database: Database, settings: Settings, claim: Claim[Backbone]) -> None:
        super().__init__(database, settings, claim)
        self._inputs: dict[str, tuple[str, Path]] = {}
        """Storage key and path on this machine of the upload, and of the samples where there are some."""
        self._digest: str | None = None
        """SHA-256 of the upload, in hex, where nobody has computed it before: it came in pieces."""

    def fetch_inputs(self) -> None:
        """Bring the upload and its samples to this machine. Raises OSError."""
        inputs = self._scratch / "inputs"
        for folder in (inputs, self._scratch / "work", self._result):
            folder.mkdir(parents=True, exist_ok=True)
        with self.database.reading() as session:
            row = session.get_one(Backbone, self.claim.id)
            keys = {"upload": row.upload, "samples": row.samples}
        for name, key in keys.items():
            if key is None:
                continue
            try:
                path = parts.local_path(self._storage, key, inputs)
            except FileNotFoundError:
                path = inputs / name  # the child reports it
            self._inputs[name] = key, path
        if row.digest is None and self._inputs["upload"][1].exists():
            with self._inputs["upload"][1].open("rb") as file:
                self._digest = hashlib.file_digest(file, "sha256").hexdigest()

    def start(self, session: Session, row: Backbone) -> ImportOrder:
        """Order the import of the uploaded file."""
        imports.start(session, row)
        row.digest = row.digest or self._digest
        options = ImportOptions.model_validate(row.options or {})
        samples = self._inputs.get("samples")
        request = ImportRequest(
            file=self._inputs["upload"][1],
            folder=self._result,
            name=row.display_name or "",
            samples=samples and samples[1],
            **{name: getattr(options, name) for name in ImportOptions.model_fields},
        )
        return ImportOrder(
            request=request,
            scratch=self._scratch / "work",
            most_cpu_seconds=self.settings.import_cpu_seconds,
            most_file_bytes=4 * self.settings.max_backbone_bytes,  # weights of 8 bits are written as 32
        )

    def prepare(self, lines: list[bytes]) -> None:
        """Put the backbone's files into the storage, in a folder of this attempt. Doing it twice changes nothing."""
        event = _parse_last(lines)
        if not isinstance(event, Imported):
            return
        for name, written in event.files.items():
            if _is_written(self._result, name):
                self._put_file(name, written)

    def record(self, session: Session, row: Backbone, lines: list[bytes]) -> bool:
        """Write events to the backbone; true if they end its import."""
        for line in lines:
            match IMPORT_EVENT.validate_json(line):
                case Progressed() as progressed:
                    data = {"stage": progressed.stage, "percent": progressed.percent}
                    imports.add_event(session, row, "info", "progress", progressed.message, data)
                case Rejected() as rejected:
                    report = rejected.report.model_dump(mode="json")
                    message = rejected.message.replace("{id}", row.id)  # in addresses
                    imports.reject(session, row, rejected.code, message, report)
                    return True
                case Imported(files=files) if files.keys() != self._files.keys():
                    message = "The process that read the file named others than it had written: the file took it over."
                    imports.reject(session, row, "file_unsafe", message, None)
                    return True
                case Imported() as imported:
                    self._accept(session, row, imported)
                    return True
        return False

    def fail(self, session: Session, row: Backbone, cause: str, message: str) -> None:
        """End the import as failed; the upload is dropped."""
        imports.reject(session, row, cause, " ".join([message, *filter(None, [ADVICE.get(cause)])]), None)

    def clean_up(self, *, is_over: bool) -> None:
        """Remove the attempt's folder, and the upload if nothing can need it any more."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        keys = {key for key, _ in self._inputs.values()}
        if not is_over or not keys:
            return
        try:
            with self.database.reading() as session:
                row = session.get(Backbone, self.claim.id)
            for key in keys - ({row.upload, row.samples} if row else set()):
                self._storage.delete(key)
        except (SQLAlchemyError, StorageUnavailable) as error:
            log.warning("the sweep will remove the upload of %s: %s", self.claim.id, error)

    def _accept(self, session: Session, row: Backbone, imported: Imported) -> None:
        imports.accept(
            session,
            row,
            summary=imported.summary.model_dump(mode="json"),
            files=dict(self._files),
            inspection=imported.inspection,
            report=imported.report.model_dump(mode="json"),
        )


def _parse_last(lines: list[bytes]) -> ImportEvent | None:
    return IMPORT_EVENT.validate_json(lines[-1]) if lines else None


def _is_written(folder: Path, name: str) -> bool:
    """Tell whether a name is that of a file in the folder, and leads nowhere else."""
    path = folder / name
    return Path(name).name == name and path.is_file() and not path.is_symlink()
