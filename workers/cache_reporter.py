"""Reports the size of this machine's feature cache to the database, and empties it on request."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from models.features.cache import FeatureCache
from service.cache import repository

if TYPE_CHECKING:
    from service.database import Database
    from service.settings import Settings

REPORT_SECONDS = 60.0
"""Interval of reports of a cache that does not change."""


class CacheReporter:
    """Reports one machine's feature cache to the database, and empties it on request."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._cache = FeatureCache(settings.cache, settings.cache_bytes)
        self._reported_bytes, self._reported_at = -1, 0.0

    def update(self) -> None:
        """Empty the cache if asked to, and report its size if it has changed. Raises OSError if it is unusable."""
        identity = self._cache.identity
        with self._database.reading() as session:
            is_emptying = repository.is_emptying(session, identity)
        if is_emptying:
            self._cache.empty()
            with self._database.writing() as session:
                repository.mark_emptied(session, identity)
        size = self._cache.bytes
        if size != self._reported_bytes or time.monotonic() - self._reported_at > REPORT_SECONDS:
            self._report(identity, size)

    def _report(self, identity: str, size: int) -> None:
        with self._database.writing() as session:
            repository.report(
                session,
                identity,
                host=socket.gethostname(),
                folder=str(self._cache.folder),
                size=size,
                budget=self._cache.budget,
            )
        self._reported_bytes, self._reported_at = size, time.monotonic()


def read_identity(settings: Settings) -> str | None:
    """Read the id of this machine's cache; None if it is unusable. Waits for a file lock: not in a transaction."""
    try:
        return FeatureCache(settings.cache).identity
    except OSError:
        return None
