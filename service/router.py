"""Router of all endpoints, in the order of the documentation; every GET answers HEAD too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute

from service import health
from service.backbones import endpoints as backbones
from service.cache import endpoints as cache
from service.checkpoints import endpoints as checkpoints
from service.datasets import endpoints as datasets
from service.jobs import endpoints as jobs
from service.query_parameters import check_query
from service.techniques import endpoints as techniques

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

PARTS = (datasets, backbones, techniques, jobs, checkpoints, cache, health)


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
                route_class_override=HeadRoute,
            )
    return built


router = APIRouter(dependencies=[Depends(check_query)])
for part in PARTS:
    router.include_router(part.router)
router.include_router(_build_heads())
