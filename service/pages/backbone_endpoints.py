"""Views of backbones: the search, an import of one's own, and one backbone with its cuts and its import's report."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BeforeValidator

from models.catalog.preprocessing import Interpolation
from service.backbones import endpoints as backbones
from service.backbones import imports
from service.backbones.schemas import InspectedBackbone
from service.backbones.tables import OWN_SOURCES
from service.dependencies import DatabaseDep, SettingsDep
from service.event_stream import Event
from service.pages.rendering import PageRoute, render
from service.pagination import After
from service.query_parameters import none_if_empty
from service.statuses import BackboneStatus

router = APIRouter(prefix="/backbones", include_in_schema=False, route_class=PageRoute)

ROWS = 50
EVENTS = 200
WORKED_ON = (BackboneStatus.IMPORTING, BackboneStatus.PRETRAINING, BackboneStatus.INSPECTING)
CHOICES = ("imagenet", "minus_one_to_one", "zero_to_one", "zero_to_255")
"""Means and deviations that networks are mostly trained with; import.js has their numbers."""

Text = Annotated[str | None, BeforeValidator(none_if_empty), Query()]


@router.get("")
def show_backbones(
    request: Request,
    database: DatabaseDep,
    q: Text = None,
    source: Text = None,
    licence: Text = None,
    after: After = None,
) -> HTMLResponse:
    """Show all backbones that match a search."""
    page = backbones.list_backbones(database, limit=ROWS, after=after, q=q, source=source, licence=licence)
    template = "backbones_list.html" if "hx-request" in request.headers else "backbones.html"
    return render(request, template, page=page, q=q, source=source, licence=licence)


@router.get("/import")
def show_import(request: Request, settings: SettingsDep) -> HTMLResponse:
    """Show the form that uploads a network of one's own."""
    return render(request, "backbone_import.html", **_offer({}), max_bytes=settings.max_backbone_bytes)


@router.get("/{name:path}")
def show_backbone(request: Request, name: str, database: DatabaseDep) -> HTMLResponse:
    """Show a backbone: its figures, its cuts, and its import: how it went on, its report, and what it asks for."""
    backbone = backbones.get_backbone(name, database)
    events: list[Event] = []
    if backbone.source in OWN_SOURCES:
        with database.reading() as session:
            events = [Event.model_validate(row) for row in imports.find_events(session, name, 0, EVENTS)]
    report = backbone.import_report or {}
    is_part = "hx-request" in request.headers
    response = render(
        request,
        "backbone_body.html" if is_part else "backbone.html",
        backbone=backbone,
        cuts=(backbone.inspection or {}).get("cuts", []),
        events=events[::-1],
        report=report,
        is_asked=backbone.source == "upload" and backbone.status == BackboneStatus.FAILED and backbone.hint is not None,
        **_offer(_propose(backbone, report)),
    )
    if is_part and backbone.status not in WORKED_ON:
        response.headers["HX-Refresh"] = "true"  # there is more to do with it now
    return response


def _propose(backbone: InspectedBackbone, report: dict[str, Any]) -> dict[str, Any]:
    """Propose an answer to what an import asks for: what was given before, and the report's proposal for the rest."""
    given = dict(backbone.options or {})
    proposal = (report.get("preprocessing") or {}).get("proposal") or {}
    known = given.get("preprocessing")
    facts = known if isinstance(known, dict) else {}
    return {**given, "preprocessing": {**{name: one for name, one in proposal.items() if one is not None}, **facts}}


def _offer(given: dict[str, Any]) -> dict[str, Any]:
    return {"given": given, "choices": CHOICES, "interpolations": get_args(Interpolation)}
