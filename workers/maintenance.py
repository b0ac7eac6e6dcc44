"""Periodic maintenance: clean up after dead workers, delete expired rows and files, wake workers for queued jobs."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, or_, select
from sqlalchemy.exc import SQLAlchemyError

from service import queued_work, startup
from service.backbones import imports, listings
from service.batch_predictions import repository as batch_predictions
from service.cache import repository as cache
from service.checkpoints import blobs, retention
from service.database import Database, describe_error
from service.datasets import repository as datasets
from service.exports import repository as exports
from service.jobs import lifecycle, snapshots
from service.settings import from_environment
from service.storage import Storage
from service.tables import IdempotencyKey, Job, now
from service.uploads import parts
from service.uploads import repository as uploads
from service.wakeup import Queue
from workers.stop_signal import StopSignal

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.settings import Settings
    from service.table_base import Leased

log = logging.getLogger(__name__)

EVERY_SECONDS = 15.0
STORAGE_EVERY_SECONDS = 3600.0
"""Listing a bucket takes a while, and orphans do no harm meanwhile."""
GRACE_SECONDS = 3600.0
"""Age at which tensors and files that no row names are deleted: new ones are written before the row that names them."""
KEY_SECONDS = 7 * 86400.0
"""Time for which an Idempotency-Key is remembered."""
CACHE_SECONDS = 7 * 86400.0
"""Time after its last report at which the row of a feature cache is deleted."""


def sweep(database: Database, queue: Queue) -> None:
    """Clean up the database once, and wake a worker if a job, a batch prediction or a recommendation waits."""
    with database.writing() as session:
        _interrupt_orphans(session)
        session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now() - KEY_SECONDS))
        cache.delete_unreported(session, CACHE_SECONDS)
        listings.forget_dead(session)
        imports.drop_unanswered(session)
        uploads.delete_expired(session)
    with database.reading() as session:
        tables: tuple[type[Leased], ...] = (Job, *queued_work.TABLES)
        queued = (exists().where(table.status == "queued") for table in tables)
        waiting = session.scalar(select(or_(*queued)))
    if waiting:
        queue.wake()
    blobs.collect(database, GRACE_SECONDS)


def delete_expired(database: Database, storage: Storage, settings: Settings) -> None:
    """Delete the checkpoints that no rule of the settings keeps."""
    rules = retention.Rules(settings.keep_newest, settings.keep_best, settings.keep_days)
    has_more = True
    while has_more:
        outcome = retention.enforce(database, storage, rules)
        for expired in outcome.deleted:
            log.info("deleted checkpoint %s of %s (GRAFT_KEEP_…)", expired.id, expired.job)
        has_more = outcome.has_more and bool(outcome.deleted)


def _interrupt_orphans(session: Session) -> None:
    """Cancel or pause what a worker was to end, but died before it could."""
    orphans = select(Job).where(Job.status.in_(lifecycle.INTERRUPTING), Job.lease_until < now())
    for job in session.scalars(orphans.with_for_update(skip_locked=True)):
        lifecycle.interrupt(session, job)
    queued_work.interrupt_orphans(session)


def remove_orphans(database: Database, storage: Storage, grace_seconds: float) -> None:
    """Remove files that no row names: those of interrupted work, and of deleted datasets, jobs and backbones."""
    # Listed before the rows are read: a file is written before a row names it.
    folders = (
        datasets.FOLDER, snapshots.FOLDER, imports.FOLDER, exports.FOLDER, batch_predictions.FOLDER, parts.FOLDER,
    )  # fmt: skip
    files = [file for folder in folders for file in storage.list_old_files(folder, grace_seconds)]
    with database.reading() as session:
        named = datasets.find_file_keys(session) | snapshots.list_keys(session)
        named |= imports.find_file_keys(session) | exports.find_file_keys(session)
        named |= batch_predictions.find_file_keys(session)
        named |= {parts.get_folder(upload) for upload in uploads.list_unused(session)}
    for file in files:
        upload = parts.find_upload(file)
        if (file if upload is None else parts.get_folder(upload)) not in named:
            storage.delete(file)


def main() -> None:
    """Sweep the database every EVERY_SECONDS, and the storage less often, until SIGTERM or SIGINT."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = from_environment()
    startup.warn_of_misspelled_settings()
    with startup.ending_when_impossible():
        startup.check(settings)
    database, queue, storage = Database(settings.database), Queue(settings.broker_url), Storage(settings.storage)
    stopping = StopSignal()
    swept_storage = -STORAGE_EVERY_SECONDS
    while not stopping.wait(EVERY_SECONDS):
        try:
            sweep(database, queue)
            if time.monotonic() - swept_storage >= STORAGE_EVERY_SECONDS:
                delete_expired(database, storage, settings)
                remove_orphans(database, storage, GRACE_SECONDS)
                swept_storage = time.monotonic()
        except (SQLAlchemyError, OSError) as error:
            log.warning("the database or the storage does not answer, sweeping later: %s", describe_error(error))
        except Exception:
            log.exception("internal error; sweeping again later")
    database.close()


if __name__ == "__main__":
    main()
