"""Datasets as JSON."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from service.pagination import Identified
from service.statuses import DatasetStatus
from service.types import DatasetTask, Digest, Timestamp


class ClassCount(BaseModel):
    """A class and the number of its accepted images."""

    name: str
    count: int


class DatasetSummary(Identified):
    """A dataset in a list, without its report."""

    name: str
    status: DatasetStatus
    task: DatasetTask | None
    classes: list[ClassCount]
    images: int
    digest: Digest | None
    error: dict[str, Any] | None
    created_at: Timestamp


class SkippedFile(BaseModel):
    """A file of the archive, or a row of a table, that is not used."""

    file: str
    code: str
    """Reason, for programs."""
    message: str
    """Reason, and what to do."""


class Report(BaseModel):
    """Result of a validation."""

    model_config = ConfigDict(extra="allow")

    files: int
    """Files and rows that were looked at."""
    accepted: int
    layout: str = ""
    """How labels and splits were found: which folders are classes, which table has the labels."""
    depth: int | None = None
    """Bits of the values of its images, where any has more than 8."""
    counts: dict[str, int]
    """Skipped files by code."""
    skipped: list[SkippedFile]
    """The first of them; `GET /v1/datasets/{id}/skipped` lists all."""


class Dataset(DatasetSummary):
    """Images, labelled or not, with the report of their validation."""

    report: Report | None


class SkippedFileItem(SkippedFile, Identified):
    """A skipped file in the list of all."""
