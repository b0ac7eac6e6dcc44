"""The worker: claims what waits in the database and runs it, woken by messages or by its own poll."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from ulid import ULID

from service.database import Database
from service.settings import Settings, from_environment
from service.tables import Backbone, Dataset, Job
from workers import lease, scratch
from workers.cache_reporter import CacheKeeper
from workers.child_process import ChildDied, warm_up
from workers.supervisor import Supervision
from workers.work.inspection import BackboneAttempt, list_backbones
from workers.work.training import JobAttempt
from workers.work.validation import DatasetAttempt

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from workers.work.base import Attempt

log = logging.getLogger(__name__)

Row = TypeVar("Row", Job, Dataset, Backbone)

LIST_AGAIN_SECONDS = 5.0
"""Between two tries to list the backbones."""
CACHE_SECONDS = 2.0
"""How often a worker looks whether the feature cache has changed, or shall be emptied."""
TIDY_SECONDS = 60.0
"""How often the files of dead attempts on this machine are removed."""


class Kind(NamedTuple, Generic[Row]):
    """A kind of work: whose rows, in which states, done by what."""

    table: type[Row]
    waiting: str
    running: str
    attempt: Callable[[Database, Settings, lease.Claim[Row]], Attempt[Row]]


KINDS: tuple[Kind[Any], ...] = (
    Kind(Job, "queued", "running", JobAttempt),
    Kind(Dataset, "validating", "validating", DatasetAttempt),
    Kind(Backbone, "inspecting", "inspecting", BackboneAttempt),
)

WAITING = select(*(lease.waits(kind.table, kind.waiting, kind.running) for kind in KINDS))
"""Of each kind, whether there is work."""


class Runner:
    """One worker process. It does one piece of each kind at a time, so a long job holds no validation back."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.database)
        # Never by the host's name alone: a restarted container has the same.
        self.name = f"{socket.gethostname()}.{os.getpid()}.{ULID()}"
        self.stopping = threading.Event()
        self._asked = {kind: threading.Event() for kind in KINDS}

    def wake(self) -> None:
        """Look for work of every kind that this worker is not busy with, without waiting for the next poll."""
        for asked in self._asked.values():
            asked.set()

    def run(self) -> None:
        """List the backbones, poll and work, until `stop()`."""
        warm_up()
        poll = threading.Thread(target=self._poll, name="poll")
        threads = [
            poll,
            threading.Thread(target=self._keep_house, name="keep_house"),
            threading.Thread(target=self._keep_cache, name="keep_cache"),
            *(threading.Thread(target=self._work, args=(kind,), name=kind.table.__tablename__) for kind in KINDS),
        ]
        with self._listening():
            for thread in threads:
                thread.start()
            # It ends at once when told to stop: a worker that hands back its work takes no more messages.
            poll.join()
        for thread in threads:
            thread.join()
        self.database.close()

    def stop(self, *_: object) -> None:
        """Hand back what is running, and end."""
        self.stopping.set()
        self.wake()

    def _listening(self) -> AbstractContextManager[None]:
        if not self.settings.broker_url:
            return nullcontext()
        from workers import celery_app  # 0.3 s to import, and not needed without a broker

        return celery_app.listening(self.settings.broker_url, self.name, self.wake)

    def _keep_house(self) -> None:
        while not self._listed() and not self.stopping.wait(LIST_AGAIN_SECONDS):
            pass
        while not self.stopping.wait(TIDY_SECONDS):
            try:
                scratch.remove_orphans(self.database, self.settings.scratch)
            except SQLAlchemyError as error:
                log.warning("the database does not answer, tidying up later: %s", error)

    def _keep_cache(self) -> None:
        keeper = CacheKeeper(self.database, self.settings)
        while True:
            try:
                keeper.look()
            except (SQLAlchemyError, OSError) as error:
                log.warning("the database or the feature cache does not answer, looking again: %s", error)
            if self.stopping.wait(CACHE_SECONDS):
                break

    def _listed(self) -> bool:
        try:
            list_backbones(self.database, self.settings)
        except (SQLAlchemyError, ChildDied) as error:
            log.warning("the backbones cannot be listed, trying again: %s", error)
            return False
        return True

    def _poll(self) -> None:
        """Look for work of all kinds at once, again and again: an idle worker does nothing else."""
        while not self.stopping.wait(self.settings.poll_seconds):
            try:
                with self.database.reading() as session:
                    found = session.execute(WAITING).one()
            except SQLAlchemyError as error:
                log.warning("the database does not answer, asking again: %s", error)
                continue
            for kind, waits in zip(KINDS, found, strict=True):
                if waits:
                    self._asked[kind].set()

    def _work(self, kind: Kind[Any]) -> None:
        asked = self._asked[kind]
        while asked.wait() and not self.stopping.is_set():
            asked.clear()
            try:
                self._drain(kind)
            except SQLAlchemyError as error:
                log.warning("the database does not answer, asking again: %s", error)
            except Exception:
                log.exception("an error of Graft's own; its work is taken up again when the lease is over")

    def _drain(self, kind: Kind[Any]) -> None:
        while not self.stopping.is_set() and self._claim_and_run(kind):
            pass

    def _claim_and_run(self, kind: Kind[Any]) -> bool:
        with self.database.writing() as session:
            claim = lease.claim(session, kind.table, kind.waiting, kind.running, self.name, self.settings.lease_seconds)
        if claim is None:
            return False
        attempt = kind.attempt(self.database, self.settings, claim)
        Supervision(self.database, self.settings, claim, attempt, self.stopping).run()
        return True


def main() -> None:
    """Work until told to stop."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    runner = Runner(from_environment())
    signal.signal(signal.SIGTERM, runner.stop)
    signal.signal(signal.SIGINT, runner.stop)
    runner.run()


if __name__ == "__main__":
    main()
