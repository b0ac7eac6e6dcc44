"""Objects of the group datasets."""

# Written by tools/client_results.py from the OpenAPI description: `make docs` writes it again.
from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from graft.record import Record


class ClassCount(Record):
    """A class and the number of its accepted images."""

    name: str
    count: int


DatasetStatus = Literal["validating", "ready", "failed"]
"""States of a dataset."""


class Image(Record):
    """An accepted image of a dataset."""

    id: str
    digest: str
    """SHA-256 of its size and its pixels, 8 bits each, in hex: the same image has it in every dataset."""
    file: str
    """Its path in the archive."""
    labels: list[str]
    split: Literal["train", "validation", "test"] | None
    """As the archive gives it; null where it gives none, and jobs split by content. With `?job=`, that job's."""
    flags: list[str]
    """What is notable of it: grayscale, alpha, rotated, deep, copies, small, elongated, unlabelled."""
    width: int
    height: int
    bytes: int
    url: str
    """Address of its file; with `?size=` that of a thumbnail."""


class SkippedFile(Record):
    """A file of the archive, or a row of a table, that is not used."""

    file: str
    code: str
    """Reason, for programs."""
    message: str
    """Reason, and what to do."""


class SkippedFileItem(Record):
    """A skipped file in the list of all."""

    id: str
    file: str
    code: str
    """Reason, for programs."""
    message: str
    """Reason, and what to do."""


class DatasetSummary(Record):
    """A dataset in a list, without its report."""

    id: str
    name: str
    created_by: str | None
    """Id of the API key whose request made it; null where none was asked for."""
    status: DatasetStatus
    task: Literal["single_label", "multi_label", "unlabelled"] | None
    classes: list[ClassCount]
    images: int
    digest: str | None
    error: dict[str, Any] | None
    created_at: datetime


class Report(Record):
    """Result of a validation."""

    files: int
    """Files and rows that were looked at."""
    accepted: int
    layout: str
    """How labels and splits were found: which folders are classes, which table has the labels."""
    depth: int | None
    """Bits of the values of its images, where any has more than 8."""
    counts: dict[str, int]
    """Skipped files by code."""
    skipped: list[SkippedFile]
    """The first of them; `GET /v1/datasets/{id}/skipped` lists all."""


class Dataset(Record):
    """Images, labelled or not, with the report of their validation."""

    id: str
    name: str
    created_by: str | None
    """Id of the API key whose request made it; null where none was asked for."""
    status: DatasetStatus
    task: Literal["single_label", "multi_label", "unlabelled"] | None
    classes: list[ClassCount]
    images: int
    digest: str | None
    error: dict[str, Any] | None
    created_at: datetime
    report: Report | None
