"""Parts of views about a checkpoint: its exports, which a worker makes when they are asked for."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from service.checkpoints import repository as checkpoints
from service.dependencies import DatabaseDep, QueueDep
from service.exports import endpoints as exports
from service.exports import repository
from service.exports.options import ExportOptions
from service.exports.schemas import Export
from service.pages.rendering import PageRoute, render
from service.statuses import ExportStatus

router = APIRouter(prefix="/checkpoints", include_in_schema=False, route_class=PageRoute)

Offer = Literal["onnx", "images", "int8", "pt2", "bundle", "hub"]
OFFERS: dict[Offer, tuple[str, ExportOptions]] = {
    "onnx": ("onnx", ExportOptions()),
    "images": ("onnx", ExportOptions(preprocessing=True, resize=True, softmax=True)),
    "int8": ("onnx", ExportOptions(precision="int8")),
    "pt2": ("pt2", ExportOptions()),
    "bundle": ("bundle", ExportOptions()),
    "hub": ("hub", ExportOptions()),
}
"""Formats with the options that people choose most; the API has all."""


@router.get("/{checkpoint_id}/exports")
def show_exports(
    request: Request,
    checkpoint_id: str,
    database: DatabaseDep,
    queue: QueueDep,
    make: Annotated[Offer | None, Query()] = None,
) -> HTMLResponse:
    """Show the formats of a checkpoint: those that are ready, with what was measured; `make` has a worker make one."""
    with database.reading() as session:
        checkpoint = checkpoints.get(session, checkpoint_id)
    if make is not None:
        exports.require_export(database, queue, checkpoint, *OFFERS[make])
    with database.reading() as session:
        rows = {name: repository.find(session, checkpoint_id, *offer) for name, offer in OFFERS.items()}
    offers = {name: Export.from_row(row) if row else None for name, row in rows.items()}
    is_live = any(row is not None and row.status == ExportStatus.EXPORTING for row in rows.values())
    return render(request, "exports.html", checkpoint_id=checkpoint_id, offers=offers, is_live=is_live)
