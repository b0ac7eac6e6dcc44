"""Views of jobs: the list, one job as it goes on and what came of it, and several side by side."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BeforeValidator, ValidationError

from service.checkpoints import endpoints as checkpoints
from service.datasets import endpoints as datasets
from service.dependencies import DatabaseDep
from service.errors import GraftError, NotFound
from service.event_stream import Event
from service.jobs import candidates, comparison, repository
from service.jobs import endpoints as jobs
from service.jobs.errors import JobsNotComparable
from service.jobs.lifecycle import TERMINAL
from service.jobs.schemas import Job
from service.pages import advice, naming, results, texts
from service.pages.rendering import PageRoute, render
from service.pagination import After, shaped_like
from service.problems import describe_invalid
from service.query_parameters import none_if_empty
from service.statuses import JobStatus
from service.techniques import endpoints as techniques
from service.techniques.schemas import RecipeCheck

router = APIRouter(prefix="/jobs", include_in_schema=False, route_class=PageRoute)

ROWS = 20
EVENTS = 200

Status = Annotated[JobStatus | None, BeforeValidator(none_if_empty), Query()]


@router.get("")
def show_jobs(
    request: Request,
    database: DatabaseDep,
    status: Status = None,
    after: Annotated[After, shaped_like("job")] = None,
) -> HTMLResponse:
    """Show all jobs, newest first."""
    page = jobs.list_jobs(request, database, limit=ROWS, after=after, status=status)
    names = naming.find_dataset_names(database, page.data)
    is_live = after is None and any(job.status not in TERMINAL for job in page.data)
    template = "jobs_list.html" if "hx-request" in request.headers else "jobs.html"
    return render(request, template, page=page, names=names, status=status, statuses=list(JobStatus), is_live=is_live)


@router.get("/compare")
def show_comparison(
    request: Request, database: DatabaseDep, ids: Annotated[list[str] | None, Query(alias="id")] = None
) -> HTMLResponse:
    """Show jobs side by side: curves, metrics, and how their recipes differ."""
    wanted = set(ids or [])
    if not 2 <= len(wanted) <= jobs.MOST_COMPARED:
        raise JobsNotComparable(texts.translate("compare.choose", least=2, most=jobs.MOST_COMPARED))
    compared = jobs.compare_jobs(",".join(ids or []), database)
    names = naming.find_dataset_names(database, compared.data)
    return render(request, "compare.html", compared=compared, names=names, figures=results.list_figures(compared.data))


@router.get("/{job_id}")
def show_job(request: Request, job_id: str, database: DatabaseDep) -> HTMLResponse:
    """Show a job: how far it is, its curves and events, and its results."""
    job = jobs.get_job(job_id, database)
    dataset = datasets.get_dataset(job.dataset, database)
    kept = checkpoints.list_checkpoints(job_id, database).data
    return render(
        request,
        "job.html",
        **_collect(job, database),
        dataset=dataset,
        best=kept[0] if kept else None,
        kept=kept,
        results=results.build(job.metrics),
    )


@router.get("/{job_id}/state")
def show_state(request: Request, job_id: str, database: DatabaseDep, was: Status = None) -> HTMLResponse:
    """Show what changes while a job goes on; where its status is not what it was, have the whole view loaded again."""
    job = jobs.get_job(job_id, database)
    response = render(request, "job_state.html", **_collect(job, database))
    if job.status in TERMINAL or was not in (None, job.status):
        response.headers["HX-Refresh"] = "true"
    return response


@router.get("/{job_id}/advice")
def show_advice(request: Request, job_id: str, database: DatabaseDep, kind: Annotated[str, Query()]) -> HTMLResponse:
    """Show the job that a finding's advice describes: how its recipe differs, what it costs, and a button."""
    job = jobs.get_job(job_id, database)
    finding = next((one for one in _list_findings(job) if one["kind"] == kind), None)
    recipe = None if finding is None else advice.follow(kind, job.recipe)
    if finding is None or recipe is None:
        raise NotFound(texts.translate("advice.none"))
    checked, problem = None, None
    try:
        asked = RecipeCheck.model_validate({"recipe": recipe, "dataset": job.dataset, "backbone": job.backbone})
        checked = techniques.check_recipe(asked, database)
    except GraftError as error:
        problem = error.detail
    except ValidationError as error:
        problem = describe_invalid(error)
    return render(
        request,
        "job_advice.html",
        job=job,
        finding=finding,
        recipe=recipe,
        changes=comparison.find_differences([job.recipe, recipe]),
        checked=checked,
        backbone=job.backbone,
        problem=problem,
    )


def _list_findings(job: Job) -> list[dict[str, Any]]:
    return list((job.diagnosis or {}).get("findings", []))


def _collect(job: Job, database: DatabaseDep) -> dict[str, Any]:
    """Collect what the state of a job shows."""
    with database.reading() as session:
        events = [Event.model_validate(row) for row in repository.find_messages(session, job.id, EVENTS)]
        tried = candidates.build_candidates(repository.find_candidates(session, job.id))
    findings = _list_findings(job)
    return {
        "job": job,
        "events": events,
        "candidates": tried,
        "findings": findings,
        "phases": results.PHASES,
        "is_over": job.status in TERMINAL,
        "advised": {finding["kind"] for finding in findings if advice.follow(finding["kind"], job.recipe)},
    }
