"""Batch predictions as JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from service import tables
from service.pagination import Identified
from service.predictions.schemas import Coverage, TopK
from service.statuses import WorkStatus
from service.types import DescribedModel, Digest, Text, Timestamp

Format = Literal["csv", "jsonl", "parquet"]


class PredictionCreate(DescribedModel):
    """A request for a batch prediction."""

    model_config = ConfigDict(extra="forbid")

    dataset: Text
    """Its id; its images may be labelled or not."""
    models: Annotated[list[Text], Field(min_length=1, max_length=1000)]
    """Names of models, or ids of checkpoints."""
    top_k: TopK = 5
    """The most probable classes that are listed."""
    coverage: Coverage = 0.9
    """Share of images whose prediction set is to hold the right class."""
    name: Text | None = None
    """A name for people."""


class BatchModel(DescribedModel):
    """A model of a batch prediction."""

    model_config = ConfigDict(from_attributes=True)

    model: str
    """The name that was asked for."""
    checkpoint: Annotated[str, Field(validation_alias="checkpoint_id")]
    """The checkpoint that it stood for when the request came, and that predicts."""


class PredictionProgress(DescribedModel):
    """Progress of a batch prediction; null where it is not known yet."""

    percent: float = 0.0
    images: int = 0
    """Images that are done."""
    errors: int = 0
    """Images among them that cannot be opened: their rows have an error in place of predictions."""
    cached: int = 0
    """Times that this attempt found an image in the feature cache, and computed no backbone for it."""
    images_per_second: float | None = None
    eta_seconds: float | None = None


class ResultFile(DescribedModel):
    """The results in one format."""

    format: Format
    bytes: int
    digest: Digest
    url: str


class BatchPrediction(Identified):
    """Predictions for every image of a dataset."""

    name: str | None
    created_by: str | None
    """Id of the API key whose request made it; null where none was asked for."""
    status: WorkStatus
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
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None

    @classmethod
    def from_row(cls, row: tables.BatchPrediction, models: list[tables.BatchModel]) -> BatchPrediction:
        """Build the JSON of a row."""
        return cls(
            id=row.id,
            name=row.name,
            created_by=row.created_by,
            status=row.status,
            dataset=row.dataset_id,
            models=[BatchModel.model_validate(model) for model in models],
            top_k=row.top_k,
            coverage=row.coverage,
            images=row.images,
            progress=PredictionProgress(**row.progress),
            files=[
                ResultFile(
                    format=format,
                    bytes=file["bytes"],
                    digest=file["digest"],
                    url=f"/v1/predictions/{row.id}/content?format={format}",
                )
                for format, file in (row.files or {}).items()
            ],
            attempt=row.attempt,
            error=row.error,
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )
