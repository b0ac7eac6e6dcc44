"""Messages of a fine-tuning to its supervisor while it runs. Imports no torch: the supervisor reads them too."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Phase = Literal["preparing", "caching", "training", "evaluating", "storing"]

StopReason = Literal["epochs_done", "early_stopping", "target_reached", "stopped", "time_budget"]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PhaseStarted(_Event):
    """A phase has begun, and the one before it has ended."""

    event: Literal["phase_started"] = "phase_started"
    phase: Phase
    elapsed: float
    """Seconds since the fine-tuning began."""


class RecipeResolved(_Event):
    """The resolved recipe; learning rates are resolved by the second such message."""

    event: Literal["recipe_resolved"] = "recipe_resolved"
    recipe: dict[str, Any]


class Progressed(_Event):
    """Progress; replaces the last report."""

    event: Literal["progressed"] = "progressed"
    percent: float
    step: int
    steps: int
    epoch: int | None = None
    epochs: int | None = None
    images_per_second: float | None = None
    eta_seconds: float | None = None
    candidate: str | None = None
    """The candidate of a ladder that is being trained: its name, and its backbone."""


class EpochEnded(_Event):
    """Metrics of one epoch: losses, accuracies (from 0 to 1) and learning rate."""

    event: Literal["epoch_ended"] = "epoch_ended"
    epoch: int
    view: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    validation_balanced_accuracy: float | None = None
    """Mean recall of the classes on the validation images; None where images have several labels."""
    lr: float
    seconds: float
    cache_hits: int
    cache_misses: int


class Noted(_Event):
    """A log message for the user: level, kind, text and data."""

    event: Literal["noted"] = "noted"
    level: Literal["info", "warning"] = "info"
    kind: str
    message: str
    data: dict[str, Any] = {}


class Trial(BaseModel):
    """Trial of a head search: the head's hyperparameters, and the metrics of its best epoch."""

    lr: float
    l2: float
    dropout: float
    epoch: int
    """Best epoch; 0 if no epoch had a finite loss."""
    epochs: int
    """Number of epochs that the head was trained for."""
    validation_loss: float | None
    """Validation loss of the best epoch; None if it was never finite."""
    validation_accuracy: float


class HeadsSearched(_Event):
    """A head search has ended: its trials, the best first."""

    event: Literal["heads_searched"] = "heads_searched"
    message: str
    trials: list[Trial]


class CandidateTried(_Event):
    """A recipe that a ladder has tried or left out, with the figures of its validation images and its costs."""

    event: Literal["candidate_tried"] = "candidate_tried"
    number: int
    """1, 2, … in the order of the ladder."""
    name: str
    backbone: str
    recipe: dict[str, Any]
    """Resolved where it was tried: a job by it alone gives the same checkpoint, if time did not cut it short."""
    reason: str | None = None
    """Why it was left out; None where it was tried."""
    is_better: bool = False
    """True if it is better than all before it; the last such one is delivered."""
    validation_accuracy: float | None = None
    validation_loss: float | None = None
    """Of the logits divided by their temperature."""
    validation_images: int | None = None
    epochs: int | None = None
    """Epochs that it was trained for."""
    seconds: float = 0.0
    """Time to try it."""
    checkpoint_bytes: int | None = None
    """Bytes of the tensors of its checkpoint."""
    seconds_per_image: float | None = None
    """Measured time of one answer, in PyTorch's eager mode, decoding not included."""

    def describe(self) -> str:
        """Describe in a line what was found."""
        if self.validation_accuracy is None:
            return f"{self.name} of {self.backbone} is left out: {self.reason}"
        better = "the best so far" if self.is_better else "not better than the best so far"
        return (
            f"{self.name} of {self.backbone}: {self.validation_accuracy:.1%} of the validation images classified "
            f"correctly in {self.seconds:,.0f} s, {better}"
        )


class Diagnosed(_Event):
    """All findings of the training diagnostics so far; replaces the last diagnosis."""

    event: Literal["diagnosed"] = "diagnosed"
    diagnosis: dict[str, Any]


class ProgressSaved(_Event):
    """Progress has been saved, in the feature cache or in a snapshot: a later attempt continues from it."""

    event: Literal["progress_saved"] = "progress_saved"
    snapshot: str | None = None
    """The name of a file in the attempt's folder."""
    epoch: int = 0
    """Number of completed epochs."""


class CheckpointWritten(_Event):
    """The checkpoint of an epoch that is kept beside the best is written; it is delivered once all is finished."""

    event: Literal["checkpoint_written"] = "checkpoint_written"
    kind: Literal["last", "improved"]
    epoch: int
    file: str
    """Its name in the attempt's folder."""
    metrics: dict[str, Any]
    """Of the validation and the test images."""


class Finished(_Event):
    """The fine-tuning is over, and its checkpoint is written."""

    event: Literal["finished"] = "finished"
    stop_reason: StopReason
    epoch: int
    classes: list[str]
    metrics: dict[str, Any]
    cache: dict[str, Any]
    elapsed: float
    """Seconds since the fine-tuning began."""


class Failed(_Event):
    """The fine-tuning failed, and another attempt would fail the same way."""

    event: Literal["failed"] = "failed"
    code: str
    message: str


class BackboneFigures(BaseModel):
    """Figures of a backbone on the images of a dataset: how well it tells them apart, and what it costs."""

    model_config = ConfigDict(frozen=True)

    metric: Literal["accuracy", "map"]
    """Of one label an image, accuracy; of several, mean average precision."""
    value: float
    """That metric of a linear classifier in closed form on images that were left out in their turn."""
    loss: float
    """Its cross entropy on these images, or its mean squared error where they have several labels."""
    replicates: list[float]
    """The metric on bootstrap samples of the images, which are the same for all backbones."""
    constant: float
    """The metric of the predictor that says how often each class occurs."""
    balanced_accuracy: float | None
    """Mean recall of the classes; None where images have several labels."""
    sample: int
    """Images that were looked at."""
    computed: int
    """Images among them whose features were computed; those of the others were in the cache."""
    seconds: float
    """Expected time of a job by the empty recipe."""
    seconds_per_image: float
    """Measured time to compute the features of an image."""
    checkpoint_bytes: int
    """Bytes of the tensors of the job's checkpoint."""
    features_bytes: int
    """Bytes of the features of all images, without augmented views."""
    engine: str


Event = Annotated[
    PhaseStarted
    | RecipeResolved
    | Progressed
    | EpochEnded
    | Noted
    | HeadsSearched
    | CandidateTried
    | Diagnosed
    | ProgressSaved
    | CheckpointWritten
    | Finished
    | Failed,
    Field(discriminator="event"),
]

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""Parses an event from JSON."""
