"""Snapshots of one attempt at a job or a pretraining: store them, name them in its row, remove replaced ones."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol

from sqlalchemy.exc import SQLAlchemyError

from service.storage import Storage, StorageUnavailable
from workers.lease import Row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy.orm import Session

    from models.messages import ProgressSaved
    from service.database import Database
    from service.settings import Settings
    from workers.lease import Claim

log = logging.getLogger(__name__)


class StoredSnapshot(Protocol):
    """A snapshot that a row names."""

    @property
    def key(self) -> str:
        """Storage key of the file."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of the file, in hex."""
        ...

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        ...


class SnapshotQueries(Protocol):
    """The module of queries about the snapshots of one kind of work."""

    def make_key(self, owner: str, attempt: int, number: int, /) -> str:
        """Make the storage key of a snapshot."""
        ...

    def find(self, session: Session, owner: str, /) -> StoredSnapshot | None:
        """Find the newest snapshot."""
        ...

    def replace(self, session: Session, owner: str, /, *, key: str, size: int, digest: str, epoch: int) -> None:
        """Make a file the newest snapshot."""
        ...


@dataclass(frozen=True)
class _Put:
    """A file that was put into the storage."""

    name: str
    """The child's name of it."""
    key: str
    size: int
    digest: str


class SnapshotFiles(Generic[Row]):
    """Stores the snapshots of one attempt, and removes those that are replaced.

    A file is put first, under a key of its own, and then named in a fenced transaction, so that named files are whole.
    Calls: `fetch` before the attempt starts; for each batch of messages `put`, `record` in the transaction, and
    `remove_replaced` after the commit; `clean_up` at the end. The sweep removes the files of a worker that died.
    """

    def __init__(
        self, database: Database, settings: Settings, claim: Claim[Row], scratch: Path, queries: SnapshotQueries
    ) -> None:
        self._database, self._scratch, self._queries = database, scratch, queries
        self._claim: Claim[Row] = claim
        self._storage = Storage(settings.storage)
        self.resumed_from: Path | None = None
        """The snapshot of an earlier attempt, on this machine."""
        self.epochs_done = 0
        """Finished epochs in that snapshot."""
        self.is_damaged = False
        """The row names a snapshot, but its file is missing or has changed."""
        self._keys: set[str] = set()
        """Files in the storage that are this attempt's to remove when they are not needed any more."""
        self._count = 0
        self._last_name: str | None = None
        """The newest file that `put` was given, whether it could be stored or not."""
        self._newest: _Put | None = None
        self._is_failing = False
        self._failure: str | None = None
        """Why the newest snapshot could not be stored, until `record` has returned it."""

    def fetch(self) -> None:
        """Bring the newest snapshot to this machine. Raises StorageUnavailable, and OSError for a full disk."""
        with self._database.reading() as session:
            found = self._queries.find(session, self._claim.id)
        if found is None:
            return
        self._keys.add(found.key)
        self._scratch.mkdir(parents=True, exist_ok=True)
        try:
            path = self._storage.local_path(found.key, self._scratch)
            self.is_damaged = _digest(path) != found.digest
        except FileNotFoundError:
            self.is_damaged = True
        if self.is_damaged:
            log.warning("the snapshot of %s, %s, is missing or damaged", self._claim.id, found.key)
        else:
            self.resumed_from, self.epochs_done = path, found.epoch

    def put(self, names: Sequence[str]) -> None:
        """Put the newest of these files of the scratch folder into the storage; the others are outdated already.

        Where that is not possible, the row keeps the snapshot that it has. Doing it twice changes nothing.
        """
        if not names or names[-1] == self._last_name:
            return
        self._last_name = names[-1]
        self._count += 1
        key = self._queries.make_key(self._claim.id, self._claim.attempt, self._count)
        path = self._scratch / names[-1]
        try:
            put = _Put(names[-1], key, path.stat().st_size, _digest(path))
            self._storage.put(path, key)
        except OSError as error:
            log.warning("no snapshot of %s can be stored: %s", self._claim.id, error)
            self._failure = None if self._is_failing else str(error)
            self._is_failing = True
        else:
            self._keys.add(key)
            self._newest, self._is_failing = put, False
        for name in names:
            (self._scratch / name).unlink(missing_ok=True)

    def record(self, session: Session, row: Row, event: ProgressSaved) -> str | None:
        """Name the newest file in the row; returns what to report where it could not be stored."""
        newest = self._newest
        if event.snapshot is None:  # of features, which are in the cache
            row.crashes = 0
        elif newest is not None and newest.name == event.snapshot:
            row.crashes = 0  # there is progress, however this attempt ends
            self._queries.replace(
                session, row.id, key=newest.key, size=newest.size, digest=newest.digest, epoch=event.epoch
            )
        elif self._failure is not None:
            return (
                f"No snapshot can be stored: {self._failure}. Training continues; if this attempt dies, the next one "
                "resumes from the last snapshot."
            )
        return None

    def remove_replaced(self) -> None:
        """Remove the files that the committed row does not name any more."""
        self._failure = None
        if self._newest is not None:
            self._remove_all_but(self._newest.key)

    def clean_up(self) -> None:
        """Remove the files that the row does not name; none is needed once the job has ended."""
        if not self._keys:
            return
        try:
            with self._database.reading() as session:
                found = self._queries.find(session, self._claim.id)
        except SQLAlchemyError as error:
            log.warning("the database does not answer, the sweep will remove the snapshots: %s", error)
        else:
            self._remove_all_but(None if found is None else found.key)

    def _remove_all_but(self, named: str | None) -> None:
        for key in self._keys - {named}:
            try:
                self._storage.delete(key)
            except StorageUnavailable as error:
                log.warning("the sweep will remove %s: %s", key, error)
            self._keys.remove(key)


def _digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
