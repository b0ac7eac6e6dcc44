"""Objects of the group predictions."""

# Written by tools/client_results.py from the OpenAPI description: `make docs` writes it again.
from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from graft.record import Record
from graft.results.shared import ClassProbability


class BatchModel(Record):
    """A model of a batch prediction."""

    model: str
    """The name that was asked for."""
    checkpoint: str
    """The checkpoint that it stood for when the request came, and that predicts."""


class PredictionProgress(Record):
    """Progress of a batch prediction; null where it is not known yet."""

    percent: float
    images: int
    """Images that are done."""
    errors: int
    """Images among them that cannot be opened: their rows have an error in place of predictions."""
    cached: int
    """Times that this attempt found an image in the feature cache, and computed no backbone for it."""
    images_per_second: float | None
    eta_seconds: float | None


PredictionStatus = Literal["queued", "running", "succeeded", "failed", "cancelling", "cancelled"]
"""States of a batch prediction."""


class ResultFile(Record):
    """The results in one format."""

    format: Literal["csv", "jsonl", "parquet"]
    bytes: int
    digest: str
    url: str


class ImageError(Record):
    """Why there are no predictions for an image."""

    code: str
    message: str


class Prediction(Record):
    """Prediction of one model for one image."""

    model: str
    """The name that was asked for."""
    checkpoint: str
    """The checkpoint that answered."""
    classes: list[ClassProbability]
    """The most probable classes, the best first. Where an image may have several, those of at least 0.5 are its own."""
    set: list[str] | None
    """The prediction set: the right class is in it for the asked share of images like those of the training; null
    where the model has no statistics for it."""
    unlike_training: bool | None
    """Whether the image is like nothing that the model was trained on; null where that is not known."""
    score: float | None
    """Score by which that was decided, greater for less alike."""


class NearestImage(Record):
    """A training image that is like the one that was sent."""

    dataset: str
    digest: str
    file: str
    """Its path in the archive."""
    labels: list[str]
    similarity: float
    """Cosine of the angle between both images' features, at most 1."""
    url: str
    """Address of its file; with `?size=` that of a thumbnail."""


class BatchPrediction(Record):
    """Predictions for every image of a dataset."""

    id: str
    name: str | None
    created_by: str | None
    """Id of the API key whose request made it; null where none was asked for."""
    status: PredictionStatus
    dataset: str
    models: list[BatchModel]
    top_k: int
    coverage: float
    images: int
    """Images of the dataset."""
    progress: PredictionProgress
    files: list[ResultFile]
    """The results, once it has succeeded."""
    attempt: int
    error: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ImagePredictions(Record):
    """All predictions for one image."""

    image: str | None
    """The name of its file, where it has one."""
    predictions: list[Prediction]
    error: ImageError | None


class Nearest(Record):
    """The training images that are most like an image, the nearest first."""

    data: list[NearestImage]
    compared: int
    """Training images whose features the feature cache has, and that were compared: of many, evenly chosen ones."""
    training_images: int | None
    """All that there are; null where that is not known."""
    reason: str | None
    """Why there are none, such as a feature cache that has lost their features; else null."""


class Predictions(Record):
    """Predictions for each image of a request, in its order."""

    data: list[ImagePredictions]
