"""Jobs as JSON: requests and responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from models.catalog.recipe import Recipe
from models.catalog.technique import StrictModel
from service import tables
from service.pagination import Identified
from service.statuses import JobStatus
from service.types import Key, Text, Timestamp

Metadata = Annotated[dict[Key, Text], Field(max_length=50)]
"""The caller's own labels."""


class JobCreate(StrictModel):
    """A request to train."""

    dataset: Text
    """Id of a dataset that is ready."""
    backbone: Text
    """Name of a backbone, such as timm/mobilenetv3_small_100.lamb_in1k."""
    recipe: Recipe = Recipe()
    """The choices of the training; the empty recipe is the recommended one."""
    name: Text | None = None
    """A name for people."""
    metadata: Metadata = {}
    """The caller's own labels; lists can be filtered by them."""
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    """Queued jobs with a higher one start first."""


class Progress(BaseModel):
    """Progress of a job; null where it is not known yet."""

    percent: float = 0.0
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    images_per_second: float | None = None
    eta_seconds: float | None = None


class Job(Identified):
    """A request to train: its state and its results."""

    name: str | None
    status: JobStatus
    phase: str | None
    dataset: str
    backbone: str
    recipe: dict[str, Any]
    metadata: dict[str, str]
    progress: Progress
    priority: int
    queue_position: int | None
    waiting_for: str | None
    """What a queued job lacks beside its turn, such as a worker that has its backbone."""
    attempt: int
    metrics: dict[str, Any] | None
    seconds: dict[str, float]
    cache: dict[str, Any] | None
    diagnosis: dict[str, Any] | None
    """Findings of the training diagnostics so far, with advice in the recipe's words."""
    checkpoints: list[str]
    stop_reason: Literal["epochs_done", "early_stopping", "target_reached", "stopped", "time_budget"] | None
    error: dict[str, Any] | None
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None

    @classmethod
    def from_row(
        cls, row: tables.Job, checkpoints: list[str], queue_position: int | None, waiting_for: str | None
    ) -> Job:
        """Build the JSON of a row."""
        return cls(
            id=row.id,
            name=row.name,
            status=row.status,
            phase=row.phase,
            dataset=row.dataset_id,
            backbone=row.backbone,
            recipe=row.recipe,
            metadata=row.details,
            progress=Progress(**row.progress),
            priority=row.priority,
            queue_position=queue_position,
            waiting_for=waiting_for,
            attempt=row.attempt,
            metrics=row.metrics,
            seconds=row.seconds,
            cache=row.cache,
            diagnosis=row.diagnosis,
            checkpoints=checkpoints,
            stop_reason=row.stop_reason,
            error=row.error,
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )


class Event(Identified):
    """An entry of a job's log; `seq` has no gaps."""

    seq: int
    time: Timestamp
    level: Literal["debug", "info", "warning", "error"]
    kind: str
    message: str
    data: dict[str, Any]


class Epoch(Identified):
    """Metrics of one epoch; accuracies are fractions."""

    epoch: int
    view: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    validation_balanced_accuracy: float | None
    """Mean recall of the classes; null where images have several labels."""
    lr: float
    seconds: float
    cache_hits: int
    cache_misses: int


class Trial(Identified):
    """A head that a search has tried: its hyperparameters, and the metrics of its best epoch."""

    lr: float
    l2: float
    dropout: float
    epoch: int
    """Its best epoch; 0 if it has none."""
    epochs: int
    """Number of epochs that it was trained."""
    validation_loss: float | None
    """Null if it was never finite."""
    validation_accuracy: float
