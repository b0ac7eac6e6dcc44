"""Backbones as JSON."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from service import tables
from service.backbones import imports
from service.backbones.options import ImportOptions
from service.backbones.tables import PRETRAINING_SOURCE, UPLOAD_SOURCE
from service.pagination import Identified
from service.statuses import BackboneStatus
from service.types import Digest, Text, Timestamp
from service.uploads.schemas import UploadSource


class BackboneCreate(ImportOptions):
    """A request to import a resumable upload."""

    source: UploadSource
    name: Text = ""
    """A name for people."""


class Backbone(Identified):
    """A pretrained network that a job can name by its id.

    One of the Hub has nulls until a worker has inspected it, an uploaded one until it is imported.
    """

    name: str
    """The id, but for an uploaded or pretrained one that was given a name for people."""
    source: str
    status: BackboneStatus
    architecture: str | None
    parameters: int | None
    input_size: list[int] | None
    licence: str | None
    accuracy: float | None
    """Top-1 accuracy on ImageNet-1k's validation images, from 0 to 1, where its source publishes it."""
    multiply_adds: int | None
    """Multiply-adds for one image of `input_size`, of convolutions and matrix products, where they are known."""
    pretrained_from: str | None
    """Backbone that one that was pretrained here started from."""
    pretrained_on: str | None = Field(validation_alias="dataset_id")
    """Dataset that it was pretrained on; it may have been deleted since."""


class Worker(Identified):
    """A worker process, which claims jobs, validations and imports."""

    host: str
    """The machine on which it runs."""
    is_alive: bool
    """Whether it has reported in time."""
    alive_until: Timestamp
    """It counts as dead from then on, unless it reports again."""
    backbones: int
    """Number of backbones that it lists."""
    job: str | None
    """The job that it runs; null where it runs none."""


class InspectedBackbone(Backbone):
    """A backbone with its possible cuts, once a worker has inspected it."""

    inspection: dict[str, Any] | None
    """Stages and cuts with their costs; null until a worker has inspected it."""
    error: dict[str, Any] | None
    format: str | None
    """Of an uploaded one's file."""
    bytes: int | None
    """Size of an uploaded one's file."""
    digest: Digest | None
    """Of an uploaded one's file."""
    options: dict[str, Any] | None
    """Facts that requests gave about an uploaded one's file."""
    import_report: dict[str, Any] | None
    """What was read of an uploaded one, how it was checked, and what is not certain."""
    pretraining: dict[str, Any] | None
    """Method, image size and seed of one that is pretrained here; once it is ready, also the number of images, the mean
    loss of each epoch, the seconds that it took, and the digests of the weights before and after."""
    progress: dict[str, Any] | None
    """Of its pretraining: percent, epochs, steps, and the expected seconds to its end."""
    created_at: Timestamp
    hint: str | None = None
    """What to do where `inspection` is null."""

    @classmethod
    def from_row(cls, row: tables.Backbone) -> InspectedBackbone:
        """Build the JSON of a row."""
        backbone = cls.model_validate(row)
        backbone.hint = _choose_hint(row).format(name=row.id) or None
        return backbone


def _choose_hint(row: tables.Backbone) -> str:
    if row.source == PRETRAINING_SOURCE and row.status == BackboneStatus.FAILED:
        return ""
    if row.source == UPLOAD_SOURCE and row.status == BackboneStatus.FAILED:
        is_waiting = (row.error or {}).get("code") in imports.NEEDS_ANSWER and row.upload is not None
        return _ANSWER_HINT if is_waiting else ""
    return _HINTS[row.status]


_ANSWER_HINT = "POST /v1/backbones/{name}/preprocessing brings what it lacked; the file need not be sent again."
_HINTS = {
    BackboneStatus.LISTED: "Its cuts are not known yet: POST /v1/backbones/{name}/inspect has a worker find them.",
    BackboneStatus.INSPECTING: "A worker finds its cuts, or will: GET it again.",
    BackboneStatus.INSPECTED: "",
    BackboneStatus.IMPORTING: "A worker imports it, or will: GET it again, or follow /v1/backbones/{name}/events.",
    BackboneStatus.PRETRAINING: "A worker pretrains it, or will: GET it again, or follow /v1/backbones/{name}/events.",
    BackboneStatus.READY: "",
    BackboneStatus.FAILED: "POST /v1/backbones/{name}/inspect has a worker try again.",
}
