"""Backbones as JSON."""

from __future__ import annotations

from typing import Any, Literal

from service import tables
from service.pagination import Identified


class Backbone(Identified):
    """A pretrained network that a job can name. Of one of the Hub, much is null until a worker has seen it."""

    name: str
    source: str
    architecture: str | None
    parameters: int | None
    input_size: list[int] | None
    licence: str | None

    @classmethod
    def of(cls, row: tables.Backbone) -> Backbone:
        """The backbone of a row."""
        return cls(
            id=row.id,
            name=row.id,
            source=row.source,
            architecture=row.architecture,
            parameters=row.parameters,
            input_size=row.input_size,
            licence=row.licence,
        )


class InspectedBackbone(Backbone):
    """A backbone with the places where it can be cut, once a worker has looked at it."""

    status: Literal["inspecting", "inspected", "failed"]
    inspection: dict[str, Any] | None
    error: dict[str, Any] | None

    @classmethod
    def of(cls, row: tables.Backbone) -> InspectedBackbone:
        """The backbone of a row."""
        return cls(
            **Backbone.of(row).model_dump(),
            status=row.status,
            inspection=row.inspection,
            error=row.error,
        )
