"""Sends one attempt's epochs and results to the experiment trackers of the settings, from a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sqlalchemy import select

from service.jobs import repository
from service.startup import CannotStart
from service.statuses import JobStatus
from service.tables import Epoch, Job
from workers.tracking.mlflow import MLflow
from workers.tracking.tensorboard import TensorBoard
from workers.tracking.tracker import EPOCH_METRICS, TrackedEpoch, TrackedJob
from workers.tracking.wandb import WeightsAndBiases

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.database import Database
    from service.settings import Settings
    from workers.tracking.tracker import Tracker

log = logging.getLogger(__name__)

OVER = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)
PACKAGES = {"tensorboard": "tensorboard", "mlflow_url": "mlflow", "wandb": "wandb"}
"""The package that each setting needs; its extra has the same name."""


class Tracking:
    """Follows one job in the database while an attempt at it runs, and tells each tracker what it does not know yet.

    A tracker that fails costs the job nothing: a warning is logged, in the job's events too, and what it has missed is
    sent with the next epoch, or by the next attempt.
    """

    def __init__(self, database: Database, settings: Settings, job_id: str) -> None:
        trackers = _configured(settings, job_id)
        self._feeds = [_Feed(database, job_id, name, connect) for name, connect in trackers.items()]
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

    def __init__(self, database: Database, job_id: str, name: str, connect: Callable[[], Tracker]) -> None:
        super().__init__(name=f"{name} of {job_id}", daemon=True)
        self.changed = threading.Event()
        self.is_closing = False
        self._database, self._job_id, self._tracker_name = database, job_id, name
        self._connect = connect
        self._tracker: Tracker | None = None
        self._epoch = 0
        """The last epoch that the tracker has taken."""
        self._has_failed, self._has_ended = False, False

    def run(self) -> None:
        """Send what is new whenever something has changed, until the attempt is over."""
        is_closing = False
        while not is_closing:
            self.changed.wait()
            self.changed.clear()
            is_closing = self.is_closing
            try:
                self._send()
                if is_closing and self._tracker is not None:
                    self._tracker.close()
            except Exception as error:  # whatever a tracker's library raises; the job does not depend on it
                self._report(error)
        _feeds.discard(self)

    def _send(self) -> None:
        job, epochs = self._read()
        if self._has_ended or job is None or not (epochs or job.status in OVER):
            return
        if self._tracker is None:
            self._tracker = self._connect()
        if epochs:
            self._tracker.log(job, epochs)
            self._epoch = epochs[-1].epoch
        if job.status in OVER:
            self._tracker.end(job)
            self._has_ended = True

    def _read(self) -> tuple[TrackedJob | None, list[TrackedEpoch]]:
        """Read the job, and the epochs that the tracker lacks; None for a job that was deleted."""
        with self._database.reading() as session:
            row = session.get(Job, self._job_id)
            if row is None:
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
                    "graft.job": row.id,
                    "graft.dataset": row.dataset_id,
                    "graft.backbone": row.backbone,
                    **row.details,
                },
                recipe=row.recipe,
                metrics=row.metrics,
                created=row.created_at,
                ended=row.finished_at,
            )
        return job, [epoch for epoch in epochs if epoch.epoch > self._epoch]

    def _report(self, error: Exception) -> None:
        tracker = self._tracker_name
        message = f"{tracker} does not take this job's metrics: {error or type(error).__name__}"
        log.warning("%s: %s", self._job_id, message)
        if self._has_failed:
            return
        self._has_failed = True
        with self._database.writing() as session:
            row = session.get(Job, self._job_id, with_for_update=True)
            if row is not None and row.status not in OVER:
                repository.add_event(session, row, "warning", "tracking_failed", message, {"tracker": tracker})


_feeds: set[_Feed] = set()
"""Those of this process whose threads run."""


def wait_for_trackers(seconds: float) -> None:
    """Wait until the trackers of closed attempts have been told all, or for `seconds`."""
    deadline = time.monotonic() + seconds
    for feed in [feed for feed in _feeds if feed.is_closing]:
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
