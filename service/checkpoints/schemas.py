"""Checkpoints as JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, model_validator

from models.catalog.technique import StrictModel
from service import tables
from service.checkpoints.retention import Outcome
from service.checkpoints.sources import Source
from service.pagination import Identified
from service.types import DescribedModel, Digest, Text, Timestamp


class Artifact(DescribedModel):
    """One downloadable form of a checkpoint."""

    format: Literal["safetensors", "head", "python"]
    """safetensors: the weights, with all metadata; head: only what differs from the backbone, of which `graft assemble`
    makes the same file with the backbone's own; python: source that builds the network with torch alone, where no
    library does, as of an imported graph."""
    bytes: int
    digest: Digest
    url: str


class Checkpoint(Identified):
    """A result of a job."""

    job: str
    parent: str | None
    """The checkpoint that it was fine-tuned from; null if its backbone was no checkpoint."""
    kind: Literal["best", "last", "improved"]
    """best: what the job delivers; last: its last epoch; improved: an epoch that was the best before a later one."""
    epoch: int
    metrics: dict[str, Any]
    classes: list[str]
    bytes: int
    digest: Digest
    """sha256: and the SHA-256 of the file in hex."""
    artifacts: list[Artifact]
    models: list[str]
    """Names that point at it."""
    statistics_bytes: int | None
    """Bytes of what its predictions need for sets and for `unlike_training`; null for a checkpoint of an earlier
    release, whose predictions have neither."""
    predictions_bytes: int | None
    """Bytes of its predictions for each validation and test image, which `GET /v1/jobs/{id}/predictions` lists; null
    for a checkpoint of an earlier release."""
    created_at: Timestamp

    @classmethod
    def from_row(
        cls,
        row: tables.Checkpoint,
        parent: str | None,
        models: list[str],
        statistics_bytes: int | None,
        predictions_bytes: int | None,
        source: Source | None,
    ) -> Checkpoint:
        """Build the JSON of a row, with its parent, its names and the source of its network."""
        url = f"/v1/checkpoints/{row.id}/content?format="
        artifacts = [Artifact(format="safetensors", bytes=row.bytes, digest=row.digest, url=f"{url}safetensors")]
        artifacts.append(Artifact(format="head", bytes=row.head_bytes, digest=row.head_digest, url=f"{url}head"))
        if source is not None:
            size = len(source.content)
            artifacts.append(Artifact(format="python", bytes=size, digest=source.digest, url=f"{url}python"))
        return cls(
            id=row.id,
            job=row.job_id,
            parent=parent,
            kind=row.kind,
            epoch=row.epoch,
            metrics=row.metrics,
            classes=row.classes,
            bytes=row.bytes,
            digest=row.digest,
            artifacts=artifacts,
            models=models,
            statistics_bytes=statistics_bytes,
            predictions_bytes=predictions_bytes,
            created_at=row.created_at,
        )


class RetentionRequest(StrictModel):
    """A request to delete checkpoints: one that any of the rules keeps is not deleted."""

    keep_newest: Annotated[int, Field(ge=1)] | None = None
    """Number of the newest checkpoints that are kept of each dataset."""
    keep_best: Annotated[int, Field(ge=1)] | None = None
    """Number of the most accurate ones that are kept of each dataset; where its jobs were tested on different images,
    of each choice of them."""
    keep_days: Annotated[float, Field(gt=0, le=36500)] | None = None
    """Age in days up to which all are kept."""
    dataset: Text | None = None
    """Only checkpoints of this dataset's jobs are deleted."""
    job: Text | None = None
    """Only checkpoints of this job are deleted."""
    dry_run: StrictBool = True
    """Delete nothing, and say what would be deleted."""

    @model_validator(mode="after")
    def _has_rule(self) -> Self:
        if self.keep_newest is None and self.keep_best is None and self.keep_days is None:
            raise ValueError("say what is kept: keep_newest, keep_best or keep_days")
        return self


class Expired(Identified):
    """A checkpoint that no rule keeps."""

    job: str
    kind: str
    dataset: str
    head_bytes: int
    """Bytes of what it shares with no other fine-tune of its backbone."""
    created_at: Timestamp


class Protected(Identified):
    """A checkpoint that no rule keeps, and that is in use all the same."""

    reason: str


class RetentionResult(DescribedModel):
    """Checkpoints that were deleted or, in a dry run, would be, the oldest first."""

    dry_run: bool
    data: list[Expired]
    protected: list[Protected]
    has_more: bool
    """There are more than one request deletes: send it again."""

    @classmethod
    def from_outcome(cls, outcome: Outcome, *, dry_run: bool) -> RetentionResult:
        """Build the JSON of what a run has deleted, or would delete."""
        return cls(
            dry_run=dry_run,
            data=[Expired.model_validate(candidate) for candidate in outcome.deleted],
            protected=[Protected(id=checkpoint, reason=reason) for checkpoint, reason in outcome.protected.items()],
            has_more=outcome.has_more,
        )
