"""MLflow runs of jobs."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from workers.tracking.tracker import EPOCH_METRICS, Tracker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workers.tracking.tracker import TrackedEpoch, TrackedJob

EXPERIMENT = "graft"
"""The experiment of runs, unless MLflow's own MLFLOW_EXPERIMENT_NAME names another."""
JOB_TAG = "graft.job"
"""Tag by which a later attempt finds the job's run."""
STATUSES = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}
UNUSABLE = re.compile(r"[^\w\-. :]")
"""Characters that MLflow refuses in a tag's name, and the slash, around which it refuses some names."""
RESERVED = ("mlflow.", ".")
"""Beginnings of tags that mean something to MLflow, or that it refuses as paths."""
LONGEST_NAME = 250
"""Length of a tag's name that MLflow takes."""
MOST_METRICS = 1000
"""Metrics that MLflow takes in one request."""
MOST_EPOCHS = MOST_METRICS // len(EPOCH_METRICS)
MOST_PARAMETERS = 100
"""Parameters that MLflow takes in one request."""
MOST_CHARACTERS = 500
"""Length of a parameter's value that every MLflow server takes; longer ones are cut."""


class MLflow(Tracker):
    """The run of one job, found by its tag or created."""

    def __init__(self, tracking_uri: str) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri)
        self._run: str | None = None
        self._epoch = 0
        """The last epoch that the run has, of this attempt or an earlier one."""

    def log(self, job: TrackedJob, epochs: Sequence[TrackedEpoch]) -> None:
        """Log epochs as metrics by step, but for those that the run has: MLflow would show both, and removes none."""
        from mlflow.entities import Metric

        run = self._open(job)
        new = [epoch for epoch in epochs if epoch.epoch > self._epoch]
        for first in range(0, len(new), MOST_EPOCHS):
            metrics = [
                Metric(name, figure, int(epoch.time * 1000), epoch.epoch)
                for epoch in new[first : first + MOST_EPOCHS]
                for name, figure in epoch.metrics.items()
            ]
            self._client.log_batch(run, metrics)

    def end(self, job: TrackedJob) -> None:
        """Log the results, and end the run as finished, failed or killed."""
        from mlflow.entities import Metric

        ended = int((job.ended or time.time()) * 1000)
        run = self._open(job)
        results = [Metric(f"result/{name}", figure, ended, 0) for name, figure in job.results.items()]
        for first in range(0, len(results), MOST_METRICS):
            self._client.log_batch(run, results[first : first + MOST_METRICS])
        self._client.set_terminated(run, STATUSES[job.status], ended)
        self._run = None

    def close(self) -> None:
        """Mark the run of a job that is not over as scheduled."""
        if self._run is not None:
            self._client.update_run(self._run, status="SCHEDULED")
            self._run = None

    def _open(self, job: TrackedJob) -> str:
        """Find or create the run, running, with the resolved recipe as parameters."""
        if self._run is None:
            run = self._find(job) or self._create(job)
            self._client.update_run(run, status="RUNNING")
            self._log_parameters(run, job)
            logged = self._client.get_metric_history(run, "lr")  # which each epoch has
            self._epoch = max((metric.step for metric in logged), default=0)
            self._run = run  # once all of it has been taken
        return self._run

    def _find(self, job: TrackedJob) -> str | None:
        found = self._client.search_runs([self._experiment()], f"tags.`{JOB_TAG}` = '{job.id}'", max_results=1)
        return found[0].info.run_id if found else None

    def _create(self, job: TrackedJob) -> str:
        tags = {name_tag(name): value for name, value in job.tags.items()}
        start = int(job.created * 1000)
        created = self._client.create_run(self._experiment(), start_time=start, tags=tags, run_name=job.name)
        return str(created.info.run_id)

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
        if found := self._client.get_experiment_by_name(name):
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException:  # another worker has created it in between
            if found := self._client.get_experiment_by_name(name):
                return str(found.experiment_id)
            raise

    def _log_parameters(self, run: str, job: TrackedJob) -> None:
        from mlflow.entities import Param

        known = self._client.get_run(run).data.params  # MLflow refuses to change one
        parameters = [
            Param(name, str(value)[:MOST_CHARACTERS])
            for name, value in job.hyperparameters.items()
            if name not in known
        ]
        for first in range(0, len(parameters), MOST_PARAMETERS):
            self._client.log_batch(run, params=parameters[first : first + MOST_PARAMETERS])


def name_tag(name: str) -> str:
    """Name a tag as MLflow takes it; reserved names are prefixed."""
    usable = UNUSABLE.sub("_", name)
    if usable.startswith(RESERVED) or not usable:
        usable = f"metadata.{usable}"
    return usable[:LONGEST_NAME]
