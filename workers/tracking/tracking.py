"""Sends one attempt's epochs and results to the experiment trackers of the settings, from a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from service.database import describe_error
from service.jobs import repository
from service.jobs.lifecycle import TERMINAL
from service.startup import CannotStart
from service.tables import Epoch, Job
from workers.tracking.mlflow import MLflow
from workers.tracking.tensorboard import TensorBoard
from workers.tracking.tracker import EPOCH_METRICS, TrackedEpoch, TrackedJob
from workers.tracking.wandb import WeightsAndBiases

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.database import Database
    from service.settings import Settings
    from workers.lease import Claim
    from workers.tracking.tracker import Tracker

log = logging.getLogger(__name__)

PACKAGES = {"tensorboard": "tensorboard", "mlflow_url": "mlflow", "wandb": "wandb"}
"""The package that each setting needs; its extra has the same name."""
RETRY_SECONDS = (1.0, 10.0, 60.0)
"""Pauses between tries to send what is left of an attempt that is over."""


class Tracking:
    """Follows one job in the database while an attempt at it runs, and tells each tracker what it does not know yet.

    A tracker that fails costs the job nothing: a warning is logged, in the job's events too, and what it has missed is
    sent with the next epoch, or by the next attempt.
    """

    def __init__(self, database: Database, settings: Settings, claim: Claim[Job]) -> None:
        trackers = _configured(settings, claim.id)
        self._feeds = [_Feed(database, claim, name, connect) for name, connect in trackers.items()]
        for feed in self._feeds:
            _feeds.add(feed)
            feed.start()

    def update(self) -> None:
        """Send, soon, what is new in the database; returns at once."""
        for feed in self._feeds:
            feed.changed.set()

    def close(self) -> None:
        """Send what is left, with the results if the job is over; returns at once (`wait_for_trackers` waits)."""
        for feed in self._feeds:
            feed.is_closing = True
            feed.changed.set()


class _Feed(threading.Thread):
    """Tells one tracker of one attempt."""

    def __init__(self, database: Database, claim: Claim[Job], name: str, connect: Callable[[], Tracker]) -> None:
        super().__init__(name=f"{name} of {claim.id}", daemon=True)
        self.changed = threading.Event()
        self.is_closing = False
        self._database, self._claim, self._tracker_name = database, claim, name
        self._connect = connect
        self._tracker: Tracker | None = None
        self._epoch = 0
        """The last epoch that the tracker has taken."""
        self._is_reported, self._has_ended = False, False

    def run(self) -> None:
        """Send what is new whenever something has changed, and, once the attempt is over, what is left."""
        try:
            while not self.is_closing:
                self.changed.wait()
                self.changed.clear()
                self._update()
            for seconds in (0.0, *RETRY_SECONDS):
                time.sleep(seconds)
                if self._update():
                    break
        finally:
            self._disconnect()
            _feeds.discard(self)

    def _update(self) -> bool:
        """Send what is new; returns whether all of it was taken."""
        try:
            job, epochs = self._read()
            error = None if job is None else self._send(job, epochs)
            if error is not None:
                self._report(error)
        except SQLAlchemyError as error_of_database:
            log.warning("%s: the database does not answer: %s", self.name, describe_error(error_of_database))
            return False
        return error is None

    def _send(self, job: TrackedJob, epochs: list[TrackedEpoch]) -> Exception | None:
        """Send epochs, and the end of a job that is over; returns the error of a tracker that does not take them."""
        is_over = job.status in TERMINAL
        if self._has_ended or not (epochs or is_over):
            return None
        try:
            if self._tracker is None:
                self._tracker = self._connect()
            if epochs:
                self._tracker.log(job, epochs)
                self._epoch = epochs[-1].epoch
            if is_over:
                self._tracker.end(job)
                self._has_ended = True
        except Exception as error:  # whatever a tracker's library raises; the job does not depend on it
            self._disconnect()
            return error
        return None

    def _disconnect(self) -> None:
        """Let go of the tracker: the next one is sent all epochs, as one of a later attempt is."""
        tracker, self._tracker, self._epoch = self._tracker, None, 0
        try:
            if tracker is not None:
                tracker.close()
        except Exception as error:
            log.warning("%s cannot be closed: %s", self.name, describe_error(error))

    def _read(self) -> tuple[TrackedJob | None, list[TrackedEpoch]]:
        """Read the job, and the epochs that the tracker lacks; None where it was deleted, or goes on elsewhere."""
        with self._database.reading() as session:
            row = session.get(Job, self._claim.id)
            if row is None or row.attempt != self._claim.attempt:
                return None, []
            rows = session.scalars(select(Epoch).where(Epoch.job_id == row.id).order_by(Epoch.epoch)).all()
            epochs, ended = [], row.started_at or row.created_at
            for epoch in rows:
                ended += epoch.seconds
                figures = {name: getattr(epoch, column) for name, column in EPOCH_METRICS.items()}
                known = {name: float(figure) for name, figure in figures.items() if figure is not None}
                epochs.append(TrackedEpoch(epoch.epoch, ended, known))
            job = TrackedJob(
                id=row.id,
                name=row.name or row.id,
                status=row.status,
                tags={
                    **row.details,
                    "graft.job": row.id,
                    "graft.dataset": row.dataset_id,
                    "graft.backbone": row.backbone,
                },
                recipe=row.recipe,
                metrics=row.metrics,
                created=row.created_at,
                ended=row.finished_at,
            )
        return job, [epoch for epoch in epochs if epoch.epoch > self._epoch]

    def _report(self, error: Exception) -> None:
        """Log an error of the tracker, and add the attempt's first one to the job's events."""
        message = f"{self._tracker_name} does not take this job's metrics: {describe_error(error)}"
        log.warning("%s: %s", self._claim.id, message)
        if self._is_reported:
            return
        with self._database.writing() as session:
            row = session.get(Job, self._claim.id, with_for_update=True)
            if row is not None and row.status not in TERMINAL:
                data = {"tracker": self._tracker_name}
                repository.add_event(session, row, "warning", "tracking_failed", message, data)
        self._is_reported = True


_feeds: set[_Feed] = set()
"""Those of this process whose threads run."""


def wait_for_trackers(seconds: float) -> None:
    """Wait until the trackers of closed attempts have been told all, or for `seconds`."""
    deadline = time.monotonic() + seconds
    for feed in [feed for feed in list(_feeds) if feed.is_closing]:  # their threads take them out meanwhile
        feed.join(max(0.0, deadline - time.monotonic()))
        if feed.is_alive():
            log.warning("%s does not answer; what it lacks is not sent", feed.name)


def check_packages(settings: Settings) -> None:
    """Raise CannotStart if the settings name an experiment tracker whose package is not installed."""
    for setting, package in PACKAGES.items():
        if getattr(settings, setting) and find_spec(package) is None:
            extra = f"pip install 'graft[{package}]'"
            raise CannotStart(f"GRAFT_{setting.upper()} needs the package {package}: {extra}, or unset it.")


def _configured(settings: Settings, job_id: str) -> dict[str, Callable[[], Tracker]]:
    trackers: dict[str, Callable[[], Tracker]] = {}
    if settings.tensorboard:
        trackers["TensorBoard"] = partial(TensorBoard, settings.tensorboard, job_id)
    if settings.mlflow_url:
        trackers["MLflow"] = partial(MLflow, settings.mlflow_url)
    if settings.wandb:
        trackers["Weights & Biases"] = partial(WeightsAndBiases, settings.wandb, settings.data)
    return trackers
