"""Weights & Biases runs of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workers.tracking.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wandb.sdk.wandb_run import Run

    from workers.tracking.tracker import TrackedEpoch, TrackedJob

SECONDS = 30.0
"""Longest wait for the server when a run begins."""


class WeightsAndBiases(Tracker):
    """The run of one job; its id is the job's. WANDB_API_KEY, WANDB_BASE_URL and WANDB_MODE are the library's own."""

    def __init__(self, project: str, folder: Path) -> None:
        self._project, self._folder = project, folder
        self._run: Run | None = None

    def log(self, job: TrackedJob, epochs: Sequence[TrackedEpoch]) -> None:
        """Log epochs by step; the server leaves out those that an earlier attempt has logged."""
        run = self._open(job)
        for epoch in epochs:
            run.log(epoch.metrics, step=epoch.epoch)

    def end(self, job: TrackedJob) -> None:
        """Write the results to the run's summary, and finish it."""
        run = self._open(job)
        run.summary.update({f"result/{name}": figure for name, figure in job.results.items()})
        run.finish(exit_code=0 if job.status == "succeeded" else 1)
        self._run = None

    def close(self) -> None:
        """Finish this process's part of the run: it can be resumed."""
        if self._run is not None:
            self._run.finish()
            self._run = None

    def _open(self, job: TrackedJob) -> Run:
        if self._run is None:
            import wandb

            self._folder.mkdir(parents=True, exist_ok=True)
            self._run = wandb.init(
                project=self._project,
                id=job.id,
                name=job.name,
                resume="allow",
                config={**job.tags, **job.hyperparameters},
                dir=self._folder,
                reinit="create_new",  # several workers' threads may have a run each
                settings=wandb.Settings(console="off", silent=True, init_timeout=SECONDS, x_disable_stats=True),
            )
        return self._run
