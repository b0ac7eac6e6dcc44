"""Workers: claim work from the database and run it, woken by messages or by polling."""

from __future__ import annotations

import logging
import os
import socket
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from ulid import ULID

from service.database import Database
from service.tables import Backbone, Dataset, Job
from workers import lease, scratch
from workers.cache_reporter import CacheReporter
from workers.child_process import ChildDied, start_fork_server
from workers.lease import Row
from workers.supervisor import Supervisor
from workers.work.inspection import BackboneAttempt, list_backbones
from workers.work.training import JobAttempt
from workers.work.validation import DatasetAttempt

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from service.settings import Settings
    from workers.work.base import Attempt

log = logging.getLogger(__name__)

LISTING_RETRY_SECONDS = 5.0
"""Interval of tries to list the backbones."""
VALIDATIONS = 2
"""Datasets that a worker validates at the same time: others pass one that takes long."""
CACHE_SECONDS = 2.0
"""Interval of checks of the feature cache's size, and for requests to empty it."""
CLEANING_SECONDS = 60.0
"""Interval of removals of files that dead attempts left on this machine."""


class WorkKind(NamedTuple, Generic[Row]):
    """A kind of work: its table, the states in which its rows wait and run, and its attempt."""

    table: type[Row]
    waiting: str
    running: str
    attempt: Callable[[Database, Settings, lease.Claim[Row]], Attempt[Row]]
    lane: int = 0
    """Number of the thread that does it; one kind may have several."""


WORK_KINDS: tuple[WorkKind[Any], ...] = (
    WorkKind(Job, "queued", "running", JobAttempt),
    *(WorkKind(Dataset, "validating", "validating", DatasetAttempt, lane) for lane in range(VALIDATIONS)),
    WorkKind(Backbone, "inspecting", "inspecting", BackboneAttempt),
)

HAS_CLAIMABLE = select(*(lease.has_claimable(kind.table, kind.waiting, kind.running) for kind in WORK_KINDS))
"""Query with a truth value for each kind of work: a row of it can be claimed."""


class Worker:
    """One worker process. It does pieces of each kind of work at the same time, so a long job delays no validation."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.database)
        # The host's name alone would not do: a restarted container has the same.
        self.name = f"{socket.gethostname()}.{os.getpid()}.{ULID()}"
        self.stopping = threading.Event()
        self._wakeups = {kind: threading.Event() for kind in WORK_KINDS}

    def wake(self) -> None:
        """Look for work of every kind that this worker is not busy with, without waiting for the next poll."""
        for wakeup in self._wakeups.values():
            wakeup.set()

    def run(self) -> None:
        """List the backbones, poll and work, until `stop()`."""
        start_fork_server()
        poll = threading.Thread(target=self._poll, name="poll")
        threads = [
            poll,
            threading.Thread(target=self._list_and_clean, name="list_and_clean"),
            threading.Thread(target=self._report_cache, name="report_cache"),
            *(threading.Thread(target=self._work, args=(kind,), name=kind.table.__tablename__) for kind in WORK_KINDS),
        ]
        with self._listening():
            for thread in threads:
                thread.start()
            # It ends as soon as `stop` is called: a worker that drains takes no more messages.
            poll.join()
        for thread in threads:
            thread.join()
        self.database.close()

    def stop(self) -> None:
        """Requeue what is running, and end `run`."""
        self.stopping.set()
        self.wake()

    def _listening(self) -> AbstractContextManager[None]:
        if not self.settings.broker_url:
            return nullcontext()
        from workers import celery_app  # 0.3 s to import, and not needed without a broker

        return celery_app.listening(self.settings.broker_url, self.name, self.wake)

    def _list_and_clean(self) -> None:
        """List the backbones once, then remove the folders of dead attempts now and then."""
        while not self._list_backbones() and not self.stopping.wait(LISTING_RETRY_SECONDS):
            pass
        while not self.stopping.wait(CLEANING_SECONDS):
            try:
                scratch.remove_orphans(self.database, self.settings.scratch)
            except SQLAlchemyError as error:
                log.warning("the database does not answer, cleaning up later: %s", error)

    def _report_cache(self) -> None:
        reporter = CacheReporter(self.database, self.settings)
        while True:
            try:
                reporter.update()
            except (SQLAlchemyError, OSError) as error:
                log.warning("the database or the feature cache does not answer, trying again: %s", error)
            if self.stopping.wait(CACHE_SECONDS):
                break

    def _list_backbones(self) -> bool:
        try:
            list_backbones(self.database, self.settings)
        except (SQLAlchemyError, ChildDied, OSError, EOFError) as error:  # the last two: the fork server has died
            log.warning("the backbones cannot be listed, trying again: %s", error)
            return False
        return True

    def _poll(self) -> None:
        """Look for work of all kinds in one query every GRAFT_POLL_SECONDS: an idle worker does nothing else."""
        while not self.stopping.wait(self.settings.poll_seconds):
            try:
                with self.database.reading() as session:
                    found = session.execute(HAS_CLAIMABLE).one()
            except SQLAlchemyError as error:
                log.warning("the database does not answer, polling again: %s", error)
                continue
            for kind, is_claimable in zip(WORK_KINDS, found, strict=True):
                if is_claimable:
                    self._wakeups[kind].set()

    def _work(self, kind: WorkKind[Any]) -> None:
        wakeup = self._wakeups[kind]
        while wakeup.wait() and not self.stopping.is_set():
            wakeup.clear()
            try:
                self._run_all(kind)
            except SQLAlchemyError as error:
                log.warning("the database does not answer, polling again: %s", error)
            except Exception:
                log.exception("internal error; the work is claimed again when its lease has expired")

    def _run_all(self, kind: WorkKind[Any]) -> None:
        while not self.stopping.is_set() and self._claim_and_run(kind):
            pass

    def _claim_and_run(self, kind: WorkKind[Any]) -> bool:
        with self.database.writing() as session:
            claim = lease.claim(session, kind.table, kind.waiting, kind.running, self.name, self.settings.lease_seconds)
        if claim is None:
            return False
        attempt = kind.attempt(self.database, self.settings, claim)
        Supervisor(self.database, self.settings, claim, attempt, self.stopping).run()
        return True
