"""Jobs as JSON: requests and responses."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from models.catalog.quality import MOST_BACKBONES
from models.catalog.recipe import Recipe
from models.catalog.technique import StrictModel
from service import tables
from service.backbones.tables import CHECKPOINT
from service.datasets.schemas import Image
from service.jobs.intervals import Interval
from service.models.schemas import Publish, PublishField
from service.pagination import Identified
from service.predictions.schemas import ClassProbability
from service.statuses import JobStatus
from service.types import DescribedModel, Key, Text, Timestamp

Metadata = Annotated[dict[Key, Text], Field(max_length=50)]
"""The caller's own labels."""


class TrainingRequest(StrictModel):
    """A recipe, and the backbones that are trained by it."""

    backbone: Text | None = None
    """Name of a backbone, such as timm/mobilenetv3_small_100.lamb_in1k, or id of one that was uploaded (bb_…), or of
    a checkpoint to go on from (ckpt_…)."""
    backbones: Annotated[list[Text], Field(min_length=1, max_length=MOST_BACKBONES)] | None = None
    """Several in place of one, where the recipe has the `quality` balanced or best: the cheapest candidate recipe tries
    them all, each dearer one the better half of those before it by their validation loss, at least one. One that cannot
    be used is left out, as long as another can."""
    recipe: Recipe = Recipe()
    """The choices of the training; the empty recipe is the recommended one."""


class JobCreate(TrainingRequest):
    """A request to train."""

    dataset: Text
    """Id of a dataset that is ready."""
    name: Text | None = None
    """A name for people."""
    metadata: Metadata = {}
    """The caller's own labels; lists can be filtered by them."""
    publish: PublishField | None = None
    """Name of a model that its checkpoint becomes when it succeeds; or {"name", "when"}."""
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    """Queued jobs with a higher one start first."""


class Progress(DescribedModel):
    """Progress of a job; null where it is not known yet."""

    percent: float = 0.0
    epoch: int | None = None
    epochs: int | None = None
    step: int | None = None
    steps: int | None = None
    images_per_second: float | None = None
    eta_seconds: float | None = None
    candidate: str | None = None
    """Of a job with a `quality`, the candidate that it trains, or trained last: its name, and its backbone."""


class Job(Identified):
    """A request to train: its state and its results."""

    name: str | None
    created_by: str | None
    """Id of the API key whose request made it; null where none was asked for."""
    status: JobStatus
    phase: str | None
    dataset: str
    backbone: str
    """The backbone of the checkpoint; where several are named and the job has not ended, that of the best candidate so
    far, at first the first one."""
    backbones: list[str]
    """All that the request names, in its order."""
    parent: str | None
    """The checkpoint that it goes on from, if its backbone is one."""
    recipe: dict[str, Any]
    metadata: dict[str, str]
    publish: Publish | None
    """Name of a model that its checkpoint becomes when it succeeds; its events say whether it did."""
    progress: Progress
    priority: int
    queue_position: int | None
    waiting_for: str | None
    """What a queued job lacks beside its turn, such as a worker that has its backbone."""
    attempt: int
    metrics: dict[str, Any] | None
    """By split; lists leave out `confusion_matrix`, which the job itself has."""
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
        cls,
        row: tables.Job,
        backbones: list[str],
        checkpoints: list[str],
        queue_position: int | None,
        waiting_for: str | None,
    ) -> Job:
        """Build the JSON of a row."""
        return cls(
            id=row.id,
            name=row.name,
            created_by=row.created_by,
            status=row.status,
            phase=row.phase,
            dataset=row.dataset_id,
            backbone=row.backbone,
            backbones=backbones,
            parent=row.backbone if row.backbone.startswith(CHECKPOINT) else None,
            recipe=row.recipe,
            metadata=row.details,
            publish=row.publish,
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


class ComparedJob(Identified):
    """The result of one of the jobs."""

    name: str | None
    status: JobStatus
    dataset: str
    backbone: str
    checkpoints: list[str]
    metrics: dict[str, dict[str, float]]
    """By split, the figures that are single numbers."""
    images_digest: str | None
    """Digest of the test images and their labels; null before a job has succeeded, and for jobs of earlier releases."""
    seconds: dict[str, float]
    stop_reason: str | None


class Comparison(DescribedModel):
    """Jobs side by side, in the order in which they were asked for."""

    data: list[ComparedJob]
    same_test_images: bool
    """Whether all were tested on the same images with the same labels; only then their test metrics compare."""
    differences: dict[str, list[Any]]
    """Fields of the recipes, such as optimizer.lr, in which the jobs differ, with the value of each; null where it has
    none."""


class ImagePrediction(Image):
    """Prediction of a job's checkpoint for one of its validation or test images."""

    predicted: list[str]
    """The most probable class; where images may have several, those of at least 1/2, the ten most probable at most."""
    is_correct: bool
    """Whether these are its labels."""
    label_probability: float | None
    """Probability of its own class; null where images may have several."""
    loss: float
    """Cross entropy of the calibrated probabilities; where images may have several, its mean over the classes."""
    classes: list[ClassProbability]
    """The most probable classes with calibrated probabilities, to three digits."""


class ReliabilityBin(DescribedModel):
    """Predictions whose probability lies between two bounds, and how many of them are right."""

    low: float
    """Probabilities are above it."""
    high: float
    """And no greater than this."""
    count: int
    confidence: float | None
    """Mean probability; null of none."""
    accuracy: Interval | None
    """Share that is right; null of none."""


class Calibration(DescribedModel):
    """Reliability diagram of a job: how often its probabilities are right, and the expected calibration error.

    Counted is the most probable class of each image; where images may have several, each of their most probable ones.
    """

    split: str
    images: int
    classes_each: int
    """Classes that are counted of each image: 1, or where images may have several the ten most probable at most."""
    temperature: float | None
    """By which the logits were divided, fitted to the validation images; it is part of the delivered weights."""
    error_before: float | None
    """Expected calibration error of all classes without the temperature."""
    error_after: float | None
    """The same with it, as delivered."""
    bins: list[ReliabilityBin]


class Threshold(DescribedModel):
    """Images that are answered where a smaller probability counts as no answer."""

    threshold: float
    answered: int
    """Images whose most probable class has at least this probability."""
    share: float
    """Of all images."""
    accuracy: Interval | None
    """Share of the answered ones that is right; null of none."""


class ClassThreshold(DescribedModel):
    """Precision and recall of a class that is predicted from a probability on."""

    threshold: float
    predicted: int
    """Images for which it is predicted."""
    precision: Interval | None
    """Null where it is predicted for none."""
    recall: Interval | None
    """Null where no image has it."""
    f1: float


class ClassThresholds(DescribedModel):
    """Thresholds of one class, where images may have several."""

    name: str
    images: int
    """Images that have it."""
    best: ClassThreshold | None
    """At the threshold that has the greatest F1 on the validation images; null where none of these has the class, or
    it is among the most probable ones of none from `exact_from` on."""
    thresholds: list[ClassThreshold]


class Thresholds(DescribedModel):
    """Thresholds of the probability, of all classes together, or of each where images may have several."""

    split: str
    images: int
    thresholds: list[Threshold]
    """Empty where images may have several classes."""
    classes: list[ClassThresholds]
    """Empty where images have one class."""
    exact_from: float
    """Lower thresholds may miss predictions, as only the ten most probable classes of each image are kept."""


class Slice(DescribedModel):
    """Images that have something in common, and the share of them that is right."""

    name: str
    """Empty for images that have none, such as no folder."""
    images: int
    accuracy: Interval
    is_small: bool
    """Whether it has fewer than 30 images, which tell little."""
    is_worse: bool
    """Whether its interval lies below the accuracy of all images."""


class Slices(DescribedModel):
    """Slices of a split's images, the worst first; an image may be in several."""

    split: str
    by: str
    images: int
    accuracy: Interval
    """Of all images of the split."""
    slices: list[Slice]
    left_out: int
    """Slices with fewer images, which are not listed."""
