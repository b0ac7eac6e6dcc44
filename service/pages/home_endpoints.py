"""Overview of the service: what to do first, what runs, and what came of it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from service import health
from service.datasets import endpoints as datasets
from service.dependencies import DatabaseDep
from service.jobs import endpoints as jobs
from service.pages import naming
from service.pages.rendering import HEADERS, PageRoute, render, wants_page
from service.statuses import DatasetStatus, JobStatus

router = APIRouter(include_in_schema=False, route_class=PageRoute)

RECENT = 6
SHOWN_DATASETS = 4


@router.get("/")
def show_home(request: Request, database: DatabaseDep) -> Response:
    """Show the overview to a browser; list the addresses of documentation and state to a program."""
    if not wants_page(request):
        return JSONResponse(health.describe_service(), headers={"Vary": HEADERS["Vary"]})
    recent = jobs.list_jobs(request, database, limit=RECENT).data
    found = datasets.list_datasets(database, limit=SHOWN_DATASETS).data
    ready = next((dataset for dataset in found if dataset.status == DatasetStatus.READY), None)
    done = next((job for job in recent if job.status == JobStatus.SUCCEEDED), None)
    return render(
        request,
        "home.html",
        jobs=recent,
        datasets=found,
        ready=ready,
        done=done,
        names=naming.find_dataset_names(database, recent),
        problem=health.find_problem(database),
    )
