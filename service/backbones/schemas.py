"""Backbones as JSON."""

from __future__ import annotations

from typing import Any

from service import tables
from service.pagination import Identified
from service.statuses import BackboneStatus


class Backbone(Identified):
    """A pretrained network that a job can name. One of the Hub has nulls until a worker has inspected it."""

    name: str
    source: str
    architecture: str | None
    parameters: int | None
    input_size: list[int] | None
    licence: str | None


class InspectedBackbone(Backbone):
    """A backbone with its possible cuts, once a worker has inspected it."""

    status: BackboneStatus
    inspection: dict[str, Any] | None
    """Stages and cuts with their costs; null until a worker has inspected it."""
    error: dict[str, Any] | None
    hint: str | None = None
    """What to do where `inspection` is null."""

    @classmethod
    def from_row(cls, row: tables.Backbone) -> InspectedBackbone:
        """Build the JSON of a row."""
        backbone = cls.model_validate(row)
        backbone.hint = _HINTS[row.status].format(name=row.id) or None
        return backbone


_HINTS = {
    BackboneStatus.LISTED: "Its cuts are not known yet: POST /v1/backbones/{name}/inspect has a worker find them.",
    BackboneStatus.INSPECTING: "A worker finds its cuts, or will: GET it again.",
    BackboneStatus.INSPECTED: "",
    BackboneStatus.FAILED: "POST /v1/backbones/{name}/inspect has a worker try again.",
}
