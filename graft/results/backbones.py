"""Objects of the group backbones."""

# Written by tools/client_results.py from the OpenAPI description: `make docs` writes it again.
from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from graft.record import Record

BackboneStatus = Literal["listed", "inspecting", "inspected", "importing", "ready", "failed"]
"""States of a backbone."""


class Backbone(Record):
    """A pretrained network that a job can name by its id.

    One of the Hub has nulls until a worker has inspected it, an uploaded one until it is imported.
    """

    id: str
    name: str
    """The id, but for an uploaded one that was given a name for people."""
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


class InspectedBackbone(Record):
    """A backbone with its possible cuts, once a worker has inspected it."""

    id: str
    name: str
    """The id, but for an uploaded one that was given a name for people."""
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
    inspection: dict[str, Any] | None
    """Stages and cuts with their costs; null until a worker has inspected it."""
    error: dict[str, Any] | None
    format: str | None
    """Of an uploaded one's file."""
    bytes: int | None
    """Size of an uploaded one's file."""
    digest: str | None
    """Of an uploaded one's file."""
    options: dict[str, Any] | None
    """Facts that requests gave about an uploaded one's file."""
    import_report: dict[str, Any] | None
    """What was read of an uploaded one, how it was checked, and what is not certain."""
    created_at: datetime
    hint: str | None
    """What to do where `inspection` is null."""
