"""Registration of a worker: tells the database that it lives, and which backbones it can load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.backbones import listings
from workers.work.inspection import list_backbones

if TYPE_CHECKING:
    from service.database import Database
    from service.settings import Settings
    from workers.work.inspection import ListedBackbone


class Registration:
    """Registers one worker. It claims what needs a backbone only once it has listed its own."""

    def __init__(self, database: Database, settings: Settings, worker: str) -> None:
        self._database, self._settings, self._worker = database, settings, worker
        self._backbones: list[ListedBackbone] | None = None

    @property
    def is_listed(self) -> bool:
        """True once the worker has listed its backbones."""
        return self._backbones is not None

    def update(self) -> None:
        """Record that the worker lives, and its backbones where they are not known. Raises ChildDied."""
        if self._backbones is None:
            self._backbones = list_backbones(self._settings)
        with self._database.writing() as session:
            # After a long silence it may have been forgotten.
            if not listings.renew(session, self._worker, self._settings.lease_seconds):
                columns = [backbone.model_dump() for backbone in self._backbones]
                listings.replace(session, self._worker, self._settings.lease_seconds, columns)

    def remove(self) -> None:
        """Record that the worker ends."""
        with self._database.writing() as session:
            listings.forget(session, self._worker)
