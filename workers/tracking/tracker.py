"""Interface of an experiment tracker, and what it is told of a job."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EPOCH_METRICS = {
    "train/loss": "train_loss",
    "train/accuracy": "train_accuracy",
    "validation/loss": "validation_loss",
    "validation/accuracy": "validation_accuracy",
    "validation/balanced_accuracy": "validation_balanced_accuracy",
    "lr": "lr",
    "epoch_seconds": "seconds",
    "cache/hits": "cache_hits",
    "cache/misses": "cache_misses",
}
"""Names of an epoch's metrics in every tracker, and their columns."""


@dataclass(frozen=True)
class TrackedEpoch:
    """Metrics of one epoch, and its time: seconds since 1970, the same whenever it is sent."""

    epoch: int
    time: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class TrackedJob:
    """A job as experiment trackers show it."""

    id: str
    name: str
    status: str
    tags: dict[str, str]
    """Ids of job, dataset and backbone, and the caller's own labels."""
    recipe: dict[str, Any]
    metrics: dict[str, Any] | None
    """Metrics of the validation and test images, once the job has succeeded."""
    created: float
    """Seconds since 1970."""
    ended: float | None

    @property
    def hyperparameters(self) -> dict[str, str | float | bool]:
        """The recipe, flattened: `optimizer.kind`, `optimizer.lr` and so on; null and empty parts are left out."""
        return dict(_flatten(self.recipe))

    @property
    def results(self) -> dict[str, float]:
        """Single figures of the results: `test/accuracy`, `validation/loss` and so on; empty before the end."""
        return {
            f"{split}/{name}": float(figure)
            for split, figures in (self.metrics or {}).items()
            if isinstance(figures, dict)
            for name, figure in figures.items()
            if isinstance(figure, int | float)
        }


class Tracker(ABC):
    """One attempt's connection to one experiment tracker. Its methods raise what the tracker's library raises.

    A later attempt of the same job writes to the same run, and sends all epochs again: a tracker shows each once.
    """

    @abstractmethod
    def log(self, job: TrackedJob, epochs: Sequence[TrackedEpoch]) -> None:
        """Log epochs that have not been logged by this attempt."""

    @abstractmethod
    def end(self, job: TrackedJob) -> None:
        """Log the results of a job that has succeeded, failed or been cancelled, and close its run."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the run: the job has ended, or goes on in another attempt."""


def _flatten(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str | float | bool]]:
    for name, part in value.items():
        if isinstance(part, dict):
            yield from _flatten(part, f"{prefix}{name}.")
        elif isinstance(part, list) and part:
            yield prefix + name, json.dumps(part)
        elif part not in (None, []):
            yield prefix + name, part
