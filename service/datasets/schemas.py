"""Datasets as JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from service.pagination import Identified
from service.statuses import DatasetStatus
from service.types import Digest, Timestamp


class ClassCount(BaseModel):
    """A class and the number of its accepted images."""

    name: str
    count: int


class Dataset(Identified):
    """Labelled images."""

    name: str
    status: DatasetStatus
    task: Literal["single_label", "multi_label"] | None
    classes: list[ClassCount]
    images: int
    digest: Digest | None
    report: dict[str, Any] | None
    error: dict[str, Any] | None
    created_at: Timestamp
