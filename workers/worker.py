"""Workers: claim work from the database and run it, woken by messages or by polling."""

from __future__ import annotations

import logging
import os
import socket
import threading
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from ulid import ULID

from service.database import Database, describe_error
from service.tables import Backbone, BatchPrediction, Dataset, Export, Job, Recommendation
from workers import lease, scratch
from workers.cache_reporter import CacheReporter
from workers.child_process import ChildDied, start_fork_server
from workers.lease import Row
from workers.registration import Registration
from workers.supervisor import Supervisor
from workers.tracking.tracking import wait_for_trackers
from workers.work.exporting import ExportAttempt
from workers.work.importing import ImportAttempt
from workers.work.inspection import BackboneAttempt
from workers.work.predicting import PredictionAttempt
from workers.work.pretraining import PretrainingAttempt
from workers.work.recommending import RecommendationAttempt
from workers.work.training import JobAttempt
from workers.work.validation import DatasetAttempt

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from service.settings import Settings
    from workers.work.base import Attempt

log = logging.getLogger(__name__)

LISTING_RETRY_SECONDS = 5.0
"""Interval of tries to list the backbones, and the longest between two reports that this worker lives."""
VALIDATIONS = 2
"""Datasets that a worker validates at the same time: others pass one that takes long."""
CACHE_SECONDS = 2.0
"""Interval of checks of the feature cache's size, and for requests to empty it."""
TRACKER_SECONDS = 3.0
"""Longest wait, when the worker stops, for experiment trackers that do not answer: it may soon be killed."""
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
    WorkKind(Backbone, "importing", "importing", ImportAttempt),
    WorkKind(Backbone, "pretraining", "pretraining", PretrainingAttempt),
    WorkKind(Export, "exporting", "exporting", ExportAttempt),
    WorkKind(BatchPrediction, "queued", "running", PredictionAttempt),
    WorkKind(Recommendation, "queued", "running", RecommendationAttempt),
)


class Worker:
    """One worker process. It does pieces of each kind of work at the same time, so a long job delays no validation."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.database)
        # The host's name alone would not do: a restarted container has the same.
        self.name = f"{socket.gethostname()}.{os.getpid()}.{ULID()}"
        self.stopping = threading.Event()
        self.has_failed = False
        """Whether a thread has ended by an error, and the worker with it."""
        self._has_claimable = select(
            *(lease.has_claimable(kind.table, kind.waiting, kind.running, self.name) for kind in WORK_KINDS)
        )
        """Query with a truth value for each kind of work: this worker can claim a row of it."""
        self._registration = Registration(self.database, settings, self.name)
        self._cache_reporter = CacheReporter(self.database, settings)
        self._wakeups = {kind: threading.Event() for kind in WORK_KINDS}

    def wake(self) -> None:
        """Look for work of every kind that this worker is not busy with, without waiting for the next poll."""
        for wakeup in self._wakeups.values():
            wakeup.set()

    def run(self) -> None:
        """List the backbones, poll and work, until `stop()`."""
        start_fork_server()
        report_seconds = min(LISTING_RETRY_SECONDS, self.settings.lease_seconds / lease.RENEWALS_PER_LEASE)
        tasks = (
            (self._poll, self.settings.poll_seconds),
            (self._register, report_seconds),
            (self._cache_reporter.update, CACHE_SECONDS),
            (self._clean, CLEANING_SECONDS),
        )
        threads = [
            *(threading.Thread(target=self._repeat, args=task, name=task[0].__name__) for task in tasks),
            *(threading.Thread(target=self._work, args=(kind,), name=kind.table.__tablename__) for kind in WORK_KINDS),
        ]
        try:
            with self._listening():
                for thread in threads:
                    thread.start()
                self.stopping.wait()  # a worker that drains takes no more messages
        finally:
            self.stop()
            for thread in threads:
                if thread.is_alive():
                    thread.join()
            self._call(self._registration.remove)
            wait_for_trackers(TRACKER_SECONDS)
            self.database.close()

    def stop(self) -> None:
        """Requeue what is running, and end `run`."""
        self.stopping.set()
        self.wake()

    def fail(self) -> None:
        """Stop, because a thread has ended by an error: a worker that lacks one would wait for ever without a word."""
        self.has_failed = True
        self.stop()

    def _listening(self) -> AbstractContextManager[None]:
        if not self.settings.broker_url:
            return nullcontext()
        from workers import celery_app  # 0.3 s to import, and not needed without a broker

        return celery_app.listening(self.settings.broker_url, self.name, self.wake)

    def _repeat(self, act: Callable[[], None], seconds: float) -> None:
        """Call at once and then every `seconds`, until the worker stops; an error ends one call only."""
        while True:
            self._call(act)
            if self.stopping.wait(seconds):
                break

    def _call(self, act: Callable[[], None]) -> None:
        """Call, and log an error; what cannot be done now is tried again, and a row claimed again after its lease."""
        try:
            act()
        except (SQLAlchemyError, ChildDied, OSError, EOFError) as error:  # the last two also from a dead fork server
            log.warning("%s: trying again: %s", threading.current_thread().name, describe_error(error))
        except Exception:
            log.exception("%s: internal error; trying again", threading.current_thread().name)

    def _register(self) -> None:
        """Report that this worker lives, and, when it starts, its backbones."""
        was_listed = self._registration.is_listed
        self._registration.update()
        if not was_listed:
            self.wake()

    def _clean(self) -> None:
        """Remove the folders of dead attempts."""
        scratch.remove_orphans(self.database, self.settings.scratch)

    def _poll(self) -> None:
        """Look for work of all kinds in one query: an idle worker does nothing else."""
        with self.database.reading() as session:
            found = session.execute(self._has_claimable).one()
        for kind, is_claimable in zip(WORK_KINDS, found, strict=True):
            if is_claimable:
                self._wakeups[kind].set()

    def _work(self, kind: WorkKind[Any]) -> None:
        wakeup = self._wakeups[kind]
        while True:
            wakeup.wait()
            # Cleared first: `stop` sets `stopping` before it wakes, so that a wake-up that is lost here is not missed.
            wakeup.clear()
            if self.stopping.is_set():
                break
            self._call(partial(self._run_all, kind))

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
