"""Requests for predictions, and predictions as JSON."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from service.types import DescribedModel, Text


def refuse_truth(value: Any) -> Any:
    """Refuse true and false, which pydantic takes for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("must be a number")  # pydantic reports ValueErrors
    return value


TopK = Annotated[int, BeforeValidator(refuse_truth), Field(ge=1, le=1000)]
Coverage = Annotated[float, BeforeValidator(refuse_truth), Field(gt=0, lt=1)]


class ImageSource(DescribedModel):
    """An image of a JSON request: its file in base64, or one of a dataset's by its digest."""

    model_config = ConfigDict(extra="forbid")

    name: Text | None = None
    """Given again in the answer; null: the digest, or the image's number."""
    base64: str | None = None
    dataset: Annotated[str, StringConstraints(max_length=40)] | None = None
    digest: Annotated[str, StringConstraints(pattern=r"^(sha256:)?[0-9a-f]{64}$")] | None = None

    @model_validator(mode="after")
    def _check_source(self) -> ImageSource:
        is_of_dataset = self.dataset is not None and self.digest is not None
        if (self.base64 is None) != is_of_dataset or (self.base64 is not None and (self.dataset or self.digest)):
            raise ValueError("must have either base64, or dataset and digest")
        return self


class Options(DescribedModel):
    """Options of a request, wherever they stand: in the query, in fields of a form, or in JSON."""

    model_config = ConfigDict(extra="forbid")

    models: list[Text] | None = None
    """Names of models, or ids of checkpoints."""
    top_k: TopK = 5
    """The most probable classes that are listed."""
    coverage: Coverage = 0.9
    """Share of images whose prediction set is to hold the right class."""


class PredictBody(Options):
    """A JSON request."""

    images: list[ImageSource]


def describe_json() -> dict[str, Any]:
    """Describe a JSON request as JSON Schema, in one piece."""
    schema = PredictBody.model_json_schema()
    sources = schema.pop("$defs")
    schema["properties"]["images"]["items"] = sources["ImageSource"]
    return schema


class ClassProbability(DescribedModel):
    """A class and its probability."""

    name: str
    probability: float


class Prediction(DescribedModel):
    """Prediction of one model for one image."""

    model: str
    """The name that was asked for."""
    checkpoint: str
    """The checkpoint that answered."""
    classes: list[ClassProbability]
    """The most probable classes, the best first. Where an image may have several, those of at least 0.5 are its own."""
    set: list[str] | None
    """The prediction set: the right class is in it for the asked share of images like those of the training; null where
    the model has no statistics for it."""
    unlike_training: bool | None
    """Whether the image is like nothing that the model was trained on; null where that is not known."""
    score: float | None
    """Score by which that was decided, greater for less alike."""


class ImageError(DescribedModel):
    """Why there are no predictions for an image."""

    code: str
    message: str


class ImagePredictions(DescribedModel):
    """All predictions for one image."""

    image: str | None
    """The name of its file, where it has one."""
    predictions: list[Prediction]
    error: ImageError | None


class Predictions(DescribedModel):
    """Predictions for each image of a request, in its order."""

    data: list[ImagePredictions]


class NearestImage(DescribedModel):
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


class Nearest(DescribedModel):
    """The training images that are most like an image, the nearest first."""

    data: list[NearestImage]
    compared: int
    """Training images whose features the feature cache has, and that were compared: of many, evenly chosen ones."""
    training_images: int | None
    """All that there are; null where that is not known."""
    reason: str | None
    """Why there are none, such as a feature cache that has lost their features; else null."""
