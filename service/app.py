"""The API process: one FastAPI application over one database, one storage and one queue."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from service import documentation, startup
from service.assets import build_assets
from service.database import Database
from service.guide import build_guide
from service.header_limit import LimitedProtocol
from service.keys.authentication import Authentication
from service.middleware import RequestLimits
from service.pages import rendering
from service.predictions.forwarding import Forwarding
from service.predictions.models import RememberedModels
from service.problems import register_handlers
from service.router import router
from service.settings import Settings, from_environment
from service.storage import Storage
from service.uploads.tus import TusHeaders
from service.wakeup import Queue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def create_app(settings: Settings) -> FastAPI:
    """Create the FastAPI application; its database must be migrated."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.settings = settings
        app.state.database = Database(settings.database)
        app.state.storage = Storage(settings.storage)
        app.state.queue = Queue(settings.broker_url)
        app.state.forwarding = Forwarding(app.state.database)
        app.state.remembered_models = RememberedModels()
        compiling = asyncio.create_task(run_in_threadpool(rendering.compile_templates))
        yield
        await compiling
        await app.state.forwarding.close()
        app.state.database.close()

    app = FastAPI(
        title="Graft",
        summary="Transfer-learning fine-tuning of image classifiers",
        version=version("graft"),
        lifespan=lifespan,
        docs_url=None,  # a page of our own, which loads nothing from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # the middleware drops slashes at the end, also of an upload's address
        separate_input_output_schemas=False,
    )
    app.openapi = partial(documentation.describe_api, app)  # type: ignore[method-assign]  # as FastAPI documents it
    app.add_middleware(Authentication, settings=settings)
    app.add_middleware(TusHeaders)
    app.add_middleware(RequestLimits)  # outside, since it tidies the address
    app.include_router(router)
    app.mount("/static", build_assets(), name="static")
    app.mount("/guide", build_guide(), name="guide")
    register_handlers(app)
    app.add_exception_handler(HTTPException, rendering.show_no_view)
    return app


def serve(settings: Settings) -> None:
    """Serve requests until SIGTERM or SIGINT."""
    startup.warn_of_misspelled_settings()
    with startup.ending_when_impossible():
        startup.check(settings)
        startup.check_keys(settings)
        startup.check_port(settings)
    startup.warn_of_silent_broker(settings)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http=LimitedProtocol,
        log_level="warning",
        access_log=False,  # else its lines are put together and dropped
        timeout_graceful_shutdown=3,  # open event streams must not keep the process alive
    )


if __name__ == "__main__":
    serve(from_environment())
