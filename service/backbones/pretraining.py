"""Ends of pretrainings of backbones: pretraining → ready | failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.backbones import imports
from service.statuses import BackboneStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import Session

    from service.tables import Backbone


def accept(
    session: Session,
    backbone: Backbone,
    *,
    summary: Mapping[str, Any],
    files: dict[str, Any],
    inspection: dict[str, Any],
    figures: Mapping[str, Any],
) -> None:
    """Accept the locked backbone: pretraining → ready. `summary` has columns of its row."""
    backbone.pretraining = {**(backbone.pretraining or {}), **figures}
    backbone.snapshot, backbone.progress = None, {"percent": 100.0}
    imports.make_ready(session, backbone, "Pretrained", summary, files, inspection)


def reject(session: Session, backbone: Backbone, code: str, message: str) -> None:
    """End the pretraining of the locked backbone: pretraining → failed."""
    backbone.error = {"code": code, "message": message}
    backbone.snapshot = None
    backbone.end(session, BackboneStatus.FAILED)
    imports.add_event(session, backbone, "error", "failed", message, {"code": code})
