"""The sweep: tidies up after workers that died, and wakes workers for what still waits."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, select
from sqlalchemy.exc import SQLAlchemyError

from service.checkpoints import contents
from service.database import Database
from service.jobs import lifecycle
from service.queue import Queue
from service.settings import Settings
from service.tables import Dataset, IdempotencyKey, Job, now

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

EVERY_SECONDS = 15.0
GRACE_SECONDS = 3600.0
"""Tensors without a checkpoint may be about to get one: a writer stores them first."""
KEY_SECONDS = 7 * 86400.0
"""How long an Idempotency-Key is remembered."""


def sweep(database: Database, queue: Queue, settings: Settings) -> None:
    """Tidy up once."""
    with database.writing() as session:
        _end_cancelled(session)
        session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now() - KEY_SECONDS))
    with database.reading() as session:
        waiting = session.scalar(select(exists().where(Job.status == "queued")))
    if waiting:
        queue.wake()
    contents.collect(database, GRACE_SECONDS)
    _remove_scratch(database, settings)


def _end_cancelled(session: Session) -> None:
    """Jobs whose worker died before it could say that it had ended them."""
    orphans = select(Job).where(Job.status == "cancelling", Job.lease_until < now())
    for job in session.scalars(orphans.with_for_update(skip_locked=True)):
        lifecycle.cancelled(session, job)


def _remove_scratch(database: Database, settings: Settings) -> None:
    """The folders of attempts that nobody is at any more."""
    # Listed before the attempts are: an attempt is claimed before its folder is made.
    folders = list(settings.scratch.glob("*")) if settings.scratch.exists() else []
    with database.reading() as session:
        current = {
            f"{row_id}.{attempt}"
            for table in (Job, Dataset)
            for row_id, attempt in session.execute(
                select(table.id, table.attempt).where(table.lease_until.is_not(None))
            )
        }
    for folder in folders:
        if folder.name not in current:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Sweep every EVERY_SECONDS until told to stop."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings()
    database, queue = Database(settings.database), Queue(settings.broker_url)
    stopping = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stopping.set())
    while not stopping.wait(EVERY_SECONDS):
        try:
            sweep(database, queue, settings)
        except SQLAlchemyError as error:
            log.warning("the database does not answer, sweeping later: %s", error)
    database.close()


if __name__ == "__main__":
    main()
