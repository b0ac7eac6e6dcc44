"""Thumbnails of datasets' images: made when they are asked for, and kept in a file by content and size."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING

from graft.images import BadImage
from models.images.decode import Decoding
from models.images.thumbnails import make_thumbnail
from predictor.errors import PredictionFailed
from service.storage import Storage

if TYPE_CHECKING:
    from pathlib import Path

    from service.datasets.thumbnails import ThumbnailOrder
    from service.settings import Settings

log = logging.getLogger(__name__)

FILE = "thumbnails.sqlite"
"""Its name in the folder of the feature cache."""
VERSION = 1
"""Increase it when thumbnails are made otherwise."""
MOST_BYTES = 1 << 30
"""Most bytes of thumbnails that are kept: those of about 100,000 photographs at 256 pixels."""
LEFT_SHARE = 0.9
"""Share of them that is left when the oldest are removed."""
COUNTED = 256
"""Thumbnails that are added between two looks at the bytes of all."""
WAIT_SECONDS = 5.0
"""Time to wait for another predictor that writes."""


class ThumbnailStore:
    """Thumbnails by key in one SQLite file; the oldest are removed first. What cannot be kept is made again."""

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self._path, self._most_bytes = path, most_bytes
        self._connection: sqlite3.Connection | None = None
        self._added = 0
        self._lock = Lock()

    def find(self, key: str) -> bytes | None:
        """Find a thumbnail."""
        try:
            with self._lock:
                row = self._open().execute("SELECT content FROM thumbnails WHERE key = ?", (key,)).fetchone()
        except (sqlite3.Error, OSError) as error:
            self._report(error)
            return None
        return None if row is None else row[0]

    def add(self, key: str, content: bytes) -> None:
        """Keep a thumbnail."""
        try:
            with self._lock, self._open() as transaction:
                values = (key, len(content), content)
                transaction.execute("INSERT OR IGNORE INTO thumbnails (key, bytes, content) VALUES (?, ?, ?)", values)
                if self._added % COUNTED == 0:
                    self._remove_oldest(transaction)
                self._added += 1
        except (sqlite3.Error, OSError) as error:
            self._report(error)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=WAIT_SECONDS, check_same_thread=False)
            # After a loss of power, the newest may be gone.
            connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS thumbnails "
                "(number INTEGER PRIMARY KEY, key TEXT UNIQUE, bytes INTEGER, content BLOB)"
            )
            self._connection = connection
        return self._connection

    def _remove_oldest(self, transaction: sqlite3.Connection) -> None:
        total = transaction.execute("SELECT coalesce(sum(bytes), 0) FROM thumbnails").fetchone()[0]
        if total <= self._most_bytes:
            return
        for number, size in transaction.execute("SELECT number, bytes FROM thumbnails ORDER BY number").fetchall():
            if total <= LEFT_SHARE * self._most_bytes:
                break
            transaction.execute("DELETE FROM thumbnails WHERE number = ?", (number,))
            total -= size

    def _report(self, error: Exception) -> None:
        log.warning("thumbnails cannot be kept in %s: %s", self._path, error)


class Thumbnails:
    """Answers the API's orders for thumbnails, in threads."""

    def __init__(self, settings: Settings) -> None:
        self._storage = Storage(settings.storage)
        self._store = ThumbnailStore(settings.cache / FILE)
        self._threads = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="thumbnails")

    async def get(self, order: ThumbnailOrder) -> bytes:
        """Get a thumbnail; raises PredictionFailed and MemoryError."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._get, order)

    def close(self) -> None:
        """End the threads, and close the file."""
        self._threads.shutdown(cancel_futures=True)
        self._store.close()

    def _get(self, order: ThumbnailOrder) -> bytes:
        key = f"{order.digest}.{order.size}.{VERSION}"
        found = self._store.find(key)
        if found is not None:
            return found
        try:
            data = self._storage.read_range(order.pack, order.offset, order.length)
            made = make_thumbnail(data, Decoding.from_dict(order.decoding), order.size)
        except BadImage as error:
            raise PredictionFailed(422, error.code, str(error)) from error
        except OSError as error:
            log.warning("an image of %s cannot be read: %s", order.pack, error)
            message = "The predictor cannot read the image from the storage; its log says why."
            raise PredictionFailed(503, "dataset_unreadable", message) from error
        self._store.add(key, made)
        return made
