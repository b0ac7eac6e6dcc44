"""Datasets as JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict

from models.catalog.technique import StrictModel
from service.pagination import Identified
from service.statuses import DatasetStatus
from service.types import DatasetTask, DescribedModel, Digest, Text, Timestamp
from service.uploads.schemas import UploadSource


class DatasetCreate(StrictModel):
    """A request to make a dataset of a resumable upload."""

    source: UploadSource
    name: Text = ""
    """A name for people."""
    labels: Literal["auto", "none"] = "auto"
    """auto: as folders or tables of the archive give them; none: the images are unlabelled."""


class ClassCount(DescribedModel):
    """A class and the number of its accepted images."""

    name: str
    count: int


class DatasetSummary(Identified):
    """A dataset in a list, without its report."""

    name: str
    created_by: str | None
    """Id of the API key whose request made it; null where none was asked for."""
    status: DatasetStatus
    task: DatasetTask | None
    classes: list[ClassCount]
    images: int
    digest: Digest | None
    error: dict[str, Any] | None
    created_at: Timestamp


class SkippedFile(DescribedModel):
    """A file of the archive, or a row of a table, that is not used."""

    file: str
    code: str
    """Reason, for programs."""
    message: str
    """Reason, and what to do."""


class Report(DescribedModel):
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


class Image(Identified):
    """An accepted image of a dataset."""

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
