"""Objects of the group jobs."""

# Written by tools/client_results.py from the OpenAPI description: `make docs` writes it again.
from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from graft.record import Record
from graft.results.shared import ClassProbability


class Interval(Record):
    """A share that was counted, and the interval in which the true one lies with 95% confidence (Wilson)."""

    share: float
    low: float
    high: float


JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelling", "cancelled", "pausing", "paused"]
"""States of a job."""


class Epoch(Record):
    """Metrics of one epoch; accuracies are fractions."""

    id: str
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


class ImagePrediction(Record):
    """Prediction of a job's checkpoint for one of its validation or test images."""

    id: str
    digest: str
    """SHA-256 of its size and its pixels, 8 bits each, in hex: the same image has it in every dataset."""
    file: str
    """Its path in the archive."""
    labels: list[str]
    split: Literal["train", "validation", "test"] | None
    """As the archive gives it; null where it gives none, and jobs split by content. With `?job=`, that job's."""
    flags: list[str]
    """What is notable of it: grayscale, alpha, rotated, deep, copies, small, elongated, unlabelled."""
    width: int
    height: int
    bytes: int
    url: str
    """Address of its file; with `?size=` that of a thumbnail."""
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


class Progress(Record):
    """Progress of a job; null where it is not known yet."""

    percent: float
    epoch: int | None
    epochs: int | None
    step: int | None
    steps: int | None
    images_per_second: float | None
    eta_seconds: float | None
    candidate: str | None
    """Of a job with a `quality`, the candidate that it trains, or trained last: its name, and its backbone."""


class Publish(Record):
    """The name that a job's checkpoint gets when the job succeeds."""

    name: str
    when: Literal["always", "if_better"]
    """always; or if_better: if it is more accurate (of several labels: has the greater mean average precision) than
    the checkpoint that the name points at, on the same test images. Where these are others, the name stays
    where it is."""


class Trial(Record):
    """A head that a search has tried: its hyperparameters, and the metrics of its best epoch."""

    id: str
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


class Candidate(Record):
    """A recipe and a backbone that a job has tried or left out, with figures on the validation images, and costs."""

    id: str
    number: int
    """1, 2, … in the order in which they were tried."""
    name: str
    backbone: str
    recipe: dict[str, Any]
    """Resolved where it was tried: a job with it and the backbone, on the same dataset, delivers this candidate, if
    neither the time budget nor a stop cut it short."""
    reason: str | None
    """Why it was left out; null where it was tried."""
    is_best: bool
    """Whether it is the best so far; in the end it is delivered."""
    is_pareto: bool
    """Whether no other is at least as accurate, as quickly trained, as small and as quick to answer, and better in
    one of these."""
    validation_accuracy: Interval | None
    """Share of the validation images that it classifies correctly; of several labels, share of the labels. The test
    images are only looked at by what is delivered."""
    validation_loss: float | None
    """Of the calibrated probabilities."""
    epochs: int | None
    """Number of epochs that it was trained."""
    seconds: float
    """Time to try it."""
    checkpoint_bytes: int | None
    """Bytes of the tensors of its checkpoint."""
    seconds_per_image: float | None
    """Time of one answer on the worker, in PyTorch's eager mode, decoding not included."""


class ClassThreshold(Record):
    """Precision and recall of a class that is predicted from a probability on."""

    threshold: float
    predicted: int
    """Images for which it is predicted."""
    precision: Interval | None
    """Null where it is predicted for none."""
    recall: Interval | None
    """Null where no image has it."""
    f1: float


class ReliabilityBin(Record):
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


class Slice(Record):
    """Images that have something in common, and the share of them that is right."""

    name: str
    """Empty for images that have none, such as no folder."""
    images: int
    accuracy: Interval
    is_small: bool
    """Whether it has fewer than 30 images, which tell little."""
    is_worse: bool
    """Whether its interval lies below the accuracy of all images."""


class Threshold(Record):
    """Images that are answered where a smaller probability counts as no answer."""

    threshold: float
    answered: int
    """Images whose most probable class has at least this probability."""
    share: float
    """Of all images."""
    accuracy: Interval | None
    """Share of the answered ones that is right; null of none."""


class ComparedJob(Record):
    """The result of one of the jobs."""

    id: str
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


class Job(Record):
    """A request to train: its state and its results."""

    id: str
    name: str | None
    created_by: str | None
    """Id of the API key whose request made it; null where none was asked for."""
    status: JobStatus
    phase: str | None
    dataset: str
    backbone: str
    """The backbone of the checkpoint; where several are named and the job has not ended, that of the best candidate
    so far, at first the first one."""
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
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ClassThresholds(Record):
    """Thresholds of one class, where images may have several."""

    name: str
    images: int
    """Images that have it."""
    best: ClassThreshold | None
    """At the threshold that has the greatest F1 on the validation images; null where none of these has the class, or
    it is among the most probable ones of none from `exact_from` on."""
    thresholds: list[ClassThreshold]


class Calibration(Record):
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


class Slices(Record):
    """Slices of a split's images, the worst first; an image may be in several."""

    split: str
    by: str
    images: int
    accuracy: Interval
    """Of all images of the split."""
    slices: list[Slice]
    left_out: int
    """Slices with fewer images, which are not listed."""


class Comparison(Record):
    """Jobs side by side, in the order in which they were asked for."""

    data: list[ComparedJob]
    same_test_images: bool
    """Whether all were tested on the same images with the same labels; only then their test metrics compare."""
    differences: dict[str, list[Any]]
    """Fields of the recipes, such as optimizer.lr, in which the jobs differ, with the value of each; null where it
    has none."""


class Thresholds(Record):
    """Thresholds of the probability, of all classes together, or of each where images may have several."""

    split: str
    images: int
    thresholds: list[Threshold]
    """Empty where images may have several classes."""
    classes: list[ClassThresholds]
    """Empty where images have one class."""
    exact_from: float
    """Lower thresholds may miss predictions, as only the ten most probable classes of each image are kept."""
