"""Views of batch predictions: the form of a new one, the list, and one with its results."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BeforeValidator

from service.batch_predictions import endpoints as predictions
from service.datasets import endpoints as datasets
from service.dependencies import DatabaseDep
from service.pages import naming
from service.pages.rendering import PageRoute, render
from service.pages.try_endpoints import COVERAGES, find_models
from service.pagination import After, shaped_like
from service.query_parameters import none_if_empty
from service.queued_work import TERMINAL
from service.statuses import DatasetStatus

router = APIRouter(prefix="/predictions", include_in_schema=False, route_class=PageRoute)

ROWS = 20
DATASETS = 100


@router.get("")
def show_predictions(
    request: Request,
    database: DatabaseDep,
    dataset: Annotated[str | None, BeforeValidator(none_if_empty), Query()] = None,
    after: Annotated[After, shaped_like("pred")] = None,
) -> HTMLResponse:
    """Show the form of a new batch prediction, and all of them, newest first."""
    page = predictions.list_predictions(database, limit=ROWS, after=after)
    ready = datasets.list_datasets(database, limit=DATASETS, status=DatasetStatus.READY).data
    models, recent = find_models(request, database)
    return render(
        request,
        "predictions.html",
        page=page,
        names=naming.find_dataset_names(database, page.data),
        datasets=ready,
        chosen=dataset,
        models=models,
        recent=recent,
        coverages=COVERAGES,
    )


@router.get("/{prediction_id}")
def show_prediction(request: Request, prediction_id: str, database: DatabaseDep) -> HTMLResponse:
    """Show a batch prediction: how far it is, and its results as files."""
    prediction = predictions.get_prediction(prediction_id, database)
    is_part = "hx-request" in request.headers
    is_over = prediction.status in TERMINAL
    names = naming.find_dataset_names(database, [prediction])
    template = "prediction_state.html" if is_part else "prediction.html"
    response = render(request, template, prediction=prediction, is_over=is_over, names=names)
    if is_part and is_over:
        response.headers["HX-Refresh"] = "true"
    return response
