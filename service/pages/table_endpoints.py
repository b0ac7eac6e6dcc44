"""Views of models, caches, workers and API keys: tables that one can act on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from service.backbones import worker_endpoints as workers
from service.cache import endpoints as caches
from service.dependencies import DatabaseDep, SettingsDep
from service.keys import endpoints as keys
from service.keys.scopes import Scope
from service.models import endpoints as models
from service.models.schemas import NAME
from service.pages.rendering import PageRoute, render
from service.pagination import After, shaped_like

router = APIRouter(include_in_schema=False, route_class=PageRoute)

ROWS = 50
MOVES = 1000


@router.get("/models")
def show_models(
    request: Request, database: DatabaseDep, after: Annotated[After, shaped_like(NAME)] = None
) -> HTMLResponse:
    """Show the names of models, and what they point at."""
    page = models.list_models(database, limit=ROWS, after=after)
    return render(request, "models.html", page=page)


@router.get("/models/{name}")
def show_model(request: Request, name: str, database: DatabaseDep) -> HTMLResponse:
    """Show what a name points at, and what it has pointed at."""
    model = models.get_model(name, database)
    moves = models.list_moves(name, database, limit=MOVES).data
    return render(request, "model.html", model=model, moves=moves[::-1])


@router.get("/cache")
def show_cache(request: Request, database: DatabaseDep) -> HTMLResponse:
    """Show the feature caches, and what they have saved."""
    return render(request, "cache.html", cache=caches.get_cache(database))


@router.get("/workers")
def show_workers(request: Request, database: DatabaseDep, after: After = None) -> HTMLResponse:
    """Show the workers, and the jobs that they run."""
    page = workers.list_workers(database, limit=ROWS, after=after)
    template = "workers_list.html" if "hx-request" in request.headers else "workers.html"
    return render(request, template, page=page)


@router.get("/keys")
def show_keys(
    request: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    after: Annotated[After, shaped_like("key")] = None,
) -> HTMLResponse:
    """Show the API keys, without their secrets."""
    page = keys.list_keys(database, limit=ROWS, after=after)
    return render(request, "keys.html", page=page, scopes=list(Scope), asks_for_keys=settings.asks_for_keys)
