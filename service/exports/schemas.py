"""Exports as JSON."""

from __future__ import annotations

from typing import Any

from service import tables
from service.pagination import Identified
from service.statuses import ExportStatus
from service.types import Digest, Timestamp


class Export(Identified):
    """A checkpoint in another format."""

    checkpoint: str
    format: str
    options: dict[str, Any]
    status: ExportStatus
    bytes: int | None
    digest: Digest | None
    report: dict[str, Any] | None
    """parity: images, greatest_relative_difference of the logits and share of equal_labels, measured in the format's
    own runtime on the job's test images; of precision=int8, before its quantization, and beside it the accuracy,
    original_accuracy and equal_labels of the file itself."""
    error: dict[str, Any] | None
    url: str
    """Address of the file, once it is ready."""
    created_at: Timestamp
    finished_at: Timestamp | None

    @classmethod
    def from_row(cls, row: tables.Export) -> Export:
        """Build the JSON of a row."""
        return cls(
            id=row.id,
            checkpoint=row.checkpoint_id,
            format=row.format,
            options=row.options,
            status=row.status,
            bytes=row.bytes,
            digest=row.digest,
            report=row.report,
            error=row.error,
            url=f"/v1/checkpoints/{row.checkpoint_id}/content?format={row.variant}",
            created_at=row.created_at,
            finished_at=row.finished_at,
        )
