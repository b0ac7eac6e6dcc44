"""Router of all endpoints; every GET answers HEAD too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute

from service import documentation, guide, health
from service.backbones import endpoints as backbones
from service.backbones import import_endpoints as backbone_imports
from service.backbones import worker_endpoints as workers
from service.batch_predictions import endpoints as batch_predictions
from service.cache import endpoints as cache
from service.checkpoints import endpoints as checkpoints
from service.datasets import endpoints as datasets
from service.exports import endpoints as exports
from service.jobs import endpoints as jobs
from service.jobs import prediction_endpoints as job_predictions
from service.keys import endpoints as keys
from service.keys import login
from service.models import endpoints as models
from service.pages import (
    backbone_endpoints,
    checkpoint_endpoints,
    data_endpoints,
    home_endpoints,
    job_endpoints,
    result_endpoints,
    table_endpoints,
    train_endpoints,
    try_endpoints,
)
from service.pages import prediction_endpoints as prediction_pages
from service.pages.rendering import PageRoute
from service.predictions import endpoints as predictions
from service.pushes import endpoints as pushes
from service.query_parameters import check_query
from service.recommendations import endpoints as recommendations
from service.techniques import endpoints as techniques
from service.uploads import endpoints as uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PARTS = (
    predictions,  # first, since they must be quick: the search for an endpoint goes through all that are before it
    datasets,
    uploads,
    recommendations,  # before backbones, whose names may hold anything
    backbone_imports,
    backbones,
    techniques,
    jobs,
    job_predictions,
    checkpoints,
    batch_predictions,
    models,
    exports,
    pushes,
    cache,
    workers,
    keys,
    health,
    documentation,
    guide,
    login,
    home_endpoints,
    data_endpoints,
    train_endpoints,
    job_endpoints,
    result_endpoints,
    try_endpoints,
    checkpoint_endpoints,
    prediction_pages,
    backbone_endpoints,
    table_endpoints,
)


class HeadRoute(APIRoute):
    """HEAD: the headers that GET would send; the server leaves the body out."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Run the endpoint, but begin no stream: that of a job's events would last as long as the job."""
        handle = super().get_route_handler()

        async def handle_head(request: Request) -> Response:
            response = await handle(request)
            if isinstance(response, StreamingResponse):
                return Response(status_code=response.status_code, headers=response.headers)
            return response

        return handle_head


class HeadPageRoute(HeadRoute, PageRoute):
    """HEAD of a view, whose errors are views too."""


def _build_heads() -> APIRouter:
    """Build a HEAD for every GET that has none of its own."""
    gets, heads = {}, set()
    for route in (route for part in PARTS for route in part.router.routes if isinstance(route, APIRoute)):
        methods = route.methods or set()
        if "GET" in methods:
            gets[route.path] = route
        heads |= {route.path} if "HEAD" in methods else set()
    built = APIRouter()
    for path, route in gets.items():
        if path not in heads:
            built.add_api_route(
                path,
                route.endpoint,
                methods=["HEAD"],
                response_model=route.response_model,
                include_in_schema=False,
                route_class_override=HeadPageRoute if isinstance(route, PageRoute) else HeadRoute,
            )
    return built


router = APIRouter(dependencies=[Depends(check_query)])
for part in PARTS:
    router.include_router(part.router)
router.include_router(_build_heads())
