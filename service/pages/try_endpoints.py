"""View that predicts: an image is dropped or taken by the camera, and a model answers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BeforeValidator

from service.database import Database
from service.dependencies import DatabaseDep, SettingsDep
from service.jobs import endpoints as jobs
from service.jobs.schemas import Job
from service.models import endpoints as models
from service.models.schemas import Model
from service.pages.rendering import PageRoute, render
from service.query_parameters import none_if_empty
from service.statuses import JobStatus

router = APIRouter(prefix="/try", include_in_schema=False, route_class=PageRoute)

MODELS = 200
RECENT = 10
COVERAGES = (0.8, 0.9, 0.95, 0.99)


@router.get("")
def show_try(
    request: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    model: Annotated[str | None, BeforeValidator(none_if_empty), Query()] = None,
) -> HTMLResponse:
    """Show where an image is dropped, with the models that can be asked."""
    named, recent = find_models(request, database)
    known = {entry.name for entry in named} | {checkpoint for checkpoint, _ in recent}
    return render(
        request,
        "try.html",
        models=named,
        recent=recent,
        chosen=model,
        other=model if model is not None and model not in known else None,
        coverages=COVERAGES,
        most_images=settings.max_predict_images,
    )


def find_models(request: Request, database: Database) -> tuple[list[Model], list[tuple[str, Job]]]:
    """Find what can be asked to predict: names of models, and the checkpoints of the newest jobs."""
    done = jobs.list_jobs(request, database, limit=RECENT, status=JobStatus.SUCCEEDED).data
    recent = [(job.checkpoints[0], job) for job in done if job.checkpoints]
    return models.list_models(database, limit=MODELS).data, recent
