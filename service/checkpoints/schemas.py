"""Checkpoints as JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from service import tables
from service.pagination import Identified
from service.types import Digest, Timestamp


class Artifact(BaseModel):
    """One downloadable form of a checkpoint."""

    format: Literal["safetensors"]
    bytes: int
    digest: Digest
    url: str


class Checkpoint(Identified):
    """A result of a job."""

    job: str
    kind: Literal["best", "last"]
    epoch: int
    metrics: dict[str, Any]
    classes: list[str]
    bytes: int
    digest: Digest
    """sha256: and the SHA-256 of the file in hex."""
    artifacts: list[Artifact]
    created_at: Timestamp

    @classmethod
    def from_row(cls, row: tables.Checkpoint) -> Checkpoint:
        """Build the JSON of a row."""
        url = f"/v1/checkpoints/{row.id}/content?format=safetensors"
        return cls(
            id=row.id,
            job=row.job_id,
            kind=row.kind,
            epoch=row.epoch,
            metrics=row.metrics,
            classes=row.classes,
            bytes=row.bytes,
            digest=row.digest,
            artifacts=[Artifact(format="safetensors", bytes=row.bytes, digest=row.digest, url=url)],
            created_at=row.created_at,
        )
