"""Attempts at what makes a backbone, an import or a pretraining: its files, and how they end where it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.backbones import imports
from service.storage import Storage
from service.tables import Backbone
from workers import scratch
from workers.work.base import Attempt

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from models.importers.events import WrittenFile
    from service.database import Database
    from service.settings import Settings
    from workers.lease import Claim


class BackboneAttempt(Attempt[Backbone]):
    """One attempt at making a backbone, whose child writes its files into the folder `result`."""

    def __init__(self, database: Database, settings: Settings, claim: Claim[Backbone]) -> None:
        self.database, self.settings, self.claim = database, settings, claim
        self._storage = Storage(settings.storage)
        self._scratch = scratch.choose_folder(settings.scratch, claim)
        self._result = self._scratch / "result"
        self._files: dict[str, dict[str, Any]] = {}
        """The backbone's files in the storage."""

    def _put_file(self, name: str, written: WrittenFile) -> None:
        """Put a file of the backbone into the storage, in a folder of this attempt. Doing it twice changes nothing."""
        if name not in self._files:
            key = f"{imports.get_folder(self.claim.id)}/{self.claim.attempt}/{name}"
            self._storage.put(self._result / name, key)
            self._files[name] = {"key": key, **written.model_dump()}

    def crash(self, session: Session, row: Backbone, cause: str, message: str) -> None:
        """Have it tried again after a crash."""
        imports.add_event(session, row, "warning", "crashed", message, {"cause": cause, "attempt": row.attempt})
        super().crash(session, row, cause, message)

    def postpone(self, session: Session, row: Backbone, cause: str, message: str, seconds: float) -> None:
        """Have it tried again after `seconds`."""
        imports.add_event(session, row, "warning", "postponed", message, {"cause": cause, "seconds": seconds})
        super().postpone(session, row, cause, message, seconds)

    def drain(self, session: Session, row: Backbone) -> None:
        """Leave it to another worker, because this one is stopping."""
        imports.add_event(session, row, "info", "drained", "The worker stopped; waiting for another", {})
        super().drain(session, row)
