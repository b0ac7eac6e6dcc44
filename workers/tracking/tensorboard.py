"""TensorBoard event files of jobs, a folder for each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from workers.tracking.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from workers.tracking.tracker import TrackedEpoch, TrackedJob


class TensorBoard(Tracker):
    """Writes the event file of one attempt in FOLDER/JOB, in the place of earlier attempts'."""

    def __init__(self, folder: Path, job_id: str) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        run = folder / job_id
        run.mkdir(parents=True, exist_ok=True)
        for earlier in run.glob("events.out.tfevents.*"):
            earlier.unlink()
        self._writer = EventFileWriter(str(run))
        self._has_hyperparameters = False

    def log(self, job: TrackedJob, epochs: Sequence[TrackedEpoch]) -> None:
        """Write the scalars of epochs, before the first of them the recipe as hyperparameters."""
        self._write_hyperparameters(job)
        for epoch in epochs:
            self._write_scalars(epoch.metrics, epoch.epoch, epoch.time)
        self._writer.flush()

    def end(self, job: TrackedJob) -> None:
        """Write the results as scalars of one step, under `result/`."""
        self._write_hyperparameters(job)
        results = {f"result/{name}": figure for name, figure in job.results.items()}
        self._write_scalars(results, 0, job.ended or time.time())
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _write_hyperparameters(self, job: TrackedJob) -> None:
        if self._has_hyperparameters:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        hyperparameters = {"backbone": job.tags["graft.backbone"], **job.hyperparameters}
        summary = hparams_pb(hyperparameters, trial_id=job.id, start_time_secs=job.created)
        self._writer.add_event(Event(wall_time=job.created, summary=summary))
        self._has_hyperparameters = True

    def _write_scalars(self, scalars: dict[str, float], step: int, wall_time: float) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=figure) for tag, figure in scalars.items()]
        self._writer.add_event(Event(wall_time=wall_time, step=step, summary=Summary(value=values)))
