"""Datasets as JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from service import tables
from service.pagination import Identified
from service.types import Timestamp

Status = Literal["validating", "ready", "failed"]


class ClassCount(BaseModel):
    """A class and how many good images it has."""

    name: str
    count: int


class Dataset(Identified):
    """Labelled images."""

    name: str
    status: Status
    task: Literal["single_label", "multi_label"] | None
    classes: list[ClassCount]
    images: int
    digest: str | None
    report: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: Timestamp

    @classmethod
    def of(cls, row: tables.Dataset) -> Dataset:
        """The dataset of a row."""
        return cls(
            id=row.id,
            name=row.name,
            status=row.status,
            task=row.task,
            classes=row.classes,
            images=row.images,
            digest=None if row.digest is None else f"sha256:{row.digest}",
            report=row.report,
            error=row.error,
            created_at=row.created_at,
        )
