"""Backbones as JSON."""

from __future__ import annotations

from typing import Any, Literal

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

    status: Literal[BackboneStatus.INSPECTING, BackboneStatus.INSPECTED, BackboneStatus.FAILED]
    inspection: dict[str, Any] | None
    error: dict[str, Any] | None
