"""Objects of the group checkpoints."""

# Written by tools/client_results.py from the OpenAPI description: `make docs` writes it again.
from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from graft.record import Record


class Ancestor(Record):
    """One fine-tuning on the way to a checkpoint."""

    checkpoint: str
    deleted_at: datetime | None
    """When it was deleted; null if it is there."""
    job: str | None
    """Null where an earlier release deleted the checkpoint: what was before it is not known any more."""
    dataset: str | None
    dataset_digest: str | None
    backbone: str | None
    """The checkpoint before it, or the pretrained network that all began with."""


class Artifact(Record):
    """One downloadable form of a checkpoint."""

    format: Literal["safetensors", "head", "python"]
    """safetensors: the weights, with all metadata; head: only what differs from the backbone, of which `graft
    assemble` makes the same file with the backbone's own; python: source that builds the network with torch
    alone, where no library does, as of an imported graph."""
    bytes: int
    digest: str
    url: str


class Expired(Record):
    """A checkpoint that no rule keeps."""

    id: str
    job: str
    kind: str
    dataset: str
    head_bytes: int
    """Bytes of what it shares with no other fine-tune of its backbone."""
    created_at: datetime


ExportStatus = Literal["exporting", "ready", "failed"]
"""States of an export."""


class Protected(Record):
    """A checkpoint that no rule keeps, and that is in use all the same."""

    id: str
    reason: str


class Pushed(Record):
    """A push that is done."""

    to: Literal["hub", "mlflow"]
    url: str
    """Where a person finds it."""
    version: str
    """The Hub's commit, or the version of the registered model."""
    files: list[str]
    bytes: int


class Lineage(Record):
    """Lineage of a checkpoint: its ancestors and the jobs that go on from it."""

    id: str
    models: list[str]
    """Names that point at it."""
    ancestors: list[Ancestor]
    """The checkpoint itself, then the one that it was fine-tuned from, and so on."""
    child_jobs: list[str]
    """Jobs that go on from it, oldest first."""


class Checkpoint(Record):
    """A result of a job."""

    id: str
    job: str
    parent: str | None
    """The checkpoint that it was fine-tuned from; null if its backbone was no checkpoint."""
    kind: Literal["best", "last", "improved"]
    """best: what the job delivers; last: its last epoch; improved: an epoch that was the best before a later one."""
    epoch: int
    metrics: dict[str, Any]
    classes: list[str]
    bytes: int
    digest: str
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
    created_at: datetime


class Export(Record):
    """A checkpoint in another format."""

    id: str
    checkpoint: str
    format: str
    options: dict[str, Any]
    status: ExportStatus
    bytes: int | None
    digest: str | None
    report: dict[str, Any] | None
    """parity: images, greatest_relative_difference of the logits and share of equal_labels, measured in the format's
    own runtime on the job's test images; of precision=int8, before its quantization, and beside it the
    accuracy, original_accuracy and equal_labels of the file itself."""
    error: dict[str, Any] | None
    url: str
    """Address of the file, once it is ready."""
    created_at: datetime
    finished_at: datetime | None


class RetentionResult(Record):
    """Checkpoints that were deleted or, in a dry run, would be, the oldest first."""

    dry_run: bool
    data: list[Expired]
    protected: list[Protected]
    has_more: bool
    """There are more than one request deletes: send it again."""
