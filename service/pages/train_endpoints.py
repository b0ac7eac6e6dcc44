"""Views that start a job: its dataset, its backbone, and a recipe of three depths."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import AfterValidator, BeforeValidator

from service.backbones import endpoints as backbones
from service.backbones.errors import BackboneNotFound
from service.backbones.schemas import Backbone
from service.database import Database
from service.datasets import endpoints as datasets
from service.dependencies import DatabaseDep
from service.errors import GraftError
from service.jobs import endpoints as jobs
from service.pages import advice
from service.pages.rendering import PageRoute, render
from service.pagination import After
from service.query_parameters import none_if_empty
from service.queued_work import TERMINAL
from service.recommendations import endpoints as recommendations
from service.statuses import DatasetStatus
from service.techniques import endpoints as techniques
from service.techniques.schemas import RecipeCheck

router = APIRouter(prefix="/train", include_in_schema=False, route_class=PageRoute)

DATASETS = 100
FOUND = 12
SUGGESTED = {
    "timm/mobilenetv3_small_100.lamb_in1k": "small",
    "timm/efficientnet_b0.ra_in1k": "middle",
    "timm/convnext_tiny.in12k_ft_in1k": "large",
}
"""Backbones to begin with, from the least cost to the most, with the key of their cost in words."""
OWN_SOURCES = ("local", "upload", "pretraining")


def _clamp(number: int | None) -> int | None:
    """Keep a limit in the database's range."""
    return None if number is None else min(max(number, 0), 2**63 - 1)


Text = Annotated[str | None, BeforeValidator(none_if_empty), Query()]
Number = Annotated[int | None, BeforeValidator(none_if_empty), AfterValidator(_clamp), Query()]
Share = Annotated[float | None, BeforeValidator(none_if_empty), Query()]


@router.get("")
def show_form(
    request: Request,
    database: DatabaseDep,
    dataset: Text = None,
    backbone: Text = None,
    job: Text = None,
    finding: Annotated[str | None, Query(alias="advice")] = None,
) -> HTMLResponse:
    """Show the form of a new job; filled in with an earlier job, and with the advice of one of its findings."""
    recipe: dict[str, Any] = {}
    if job is not None:
        earlier = jobs.get_job(job, database)
        dataset, backbone = earlier.dataset, earlier.backbone
        recipe = advice.follow(finding or "", earlier.recipe) or earlier.recipe
    ready = datasets.list_datasets(database, limit=DATASETS, status=DatasetStatus.READY).data
    suggested = _suggest(database, backbone)
    return render(
        request,
        "train.html",
        datasets=[entry for entry in ready if entry.task != "unlabelled"],
        chosen_dataset=dataset,
        chosen_backbone=backbone or (suggested[0].id if suggested else None),
        suggested=suggested,
        costs=SUGGESTED,
        recipe=recipe,
    )


@router.get("/backbones")
def show_backbones(
    request: Request,
    database: DatabaseDep,
    q: Text = None,
    source: Text = None,
    max_params: Number = None,
    max_multiply_adds: Number = None,
    min_accuracy: Share = None,
    licence: Text = None,
    after: After = None,
) -> HTMLResponse:
    """Show the backbones that match a search, as choices of the form."""
    page = backbones.list_backbones(
        database,
        limit=FOUND,
        after=after,
        q=q,
        source=source,
        max_params=max_params,
        max_multiply_adds=max_multiply_adds,
        min_accuracy=min_accuracy,
        licence=licence,
    )
    return render(request, "train_backbones.html", page=page, chosen_backbone=None, costs=SUGGESTED)


@router.get("/recommendations/{recommendation_id}")
def show_ranking(
    request: Request, recommendation_id: str, database: DatabaseDep, backbone: Text = None
) -> HTMLResponse:
    """Show the candidates of a recommendation as choices of the form, as far as they are measured."""
    recommendation = recommendations.get_recommendation(recommendation_id, database)
    return render(
        request,
        "train_ranking.html",
        recommendation=recommendation,
        is_over=recommendation.status in TERMINAL,
        advice=recommendation.advice or (recommendation.error or {}).get("message"),
        names={each.backbone: _find_name(database, each.backbone) for each in recommendation.candidates},
        chosen=backbone,
    )


@router.get("/costs")
def show_costs(
    request: Request, database: DatabaseDep, recipe: str = "{}", dataset: Text = None, backbone: Text = None
) -> HTMLResponse:
    """Show what a job would cost, and warnings; nothing where it would be refused, as the form says why."""
    try:
        body = RecipeCheck.model_validate({"recipe": json.loads(recipe), "dataset": dataset, "backbone": backbone})
        checked = techniques.check_recipe(body, database)
    except (ValueError, RecursionError, GraftError):
        checked = None
    return render(request, "train_costs.html", checked=checked, backbone=backbone)


def _find_name(database: Database, backbone: str) -> str:
    """Find the name for people of a backbone that may be deleted since."""
    try:
        return backbones.get_backbone(backbone, database).name
    except BackboneNotFound:
        return backbone


def _suggest(database: Database, chosen: str | None) -> list[Backbone]:
    """Find backbones to begin with: the chosen one, those of one's own, and some that are known to do well."""
    own = [
        entry
        for source in OWN_SOURCES
        for entry in backbones.list_backbones(database, limit=3, source=source).data
        if entry.status != "failed"
    ]
    found = {entry.id: entry for entry in own}
    for name in filter(None, (chosen, *SUGGESTED)):
        try:
            known = backbones.get_backbone(name, database)
        except BackboneNotFound:
            continue
        found.setdefault(known.id, known)
    first = [found.pop(chosen)] if chosen in found else []
    return first + list(found.values())
