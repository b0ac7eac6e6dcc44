"""The API process: one FastAPI application over one database, one storage and one queue."""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI

from service import startup
from service.database import Database
from service.header_limit import LimitedProtocol
from service.middleware import RequestLimits
from service.problems import register_handlers
from service.router import router
from service.settings import Settings, from_environment
from service.storage import Storage
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
        yield
        app.state.database.close()

    app = FastAPI(
        title="Graft",
        summary="Transfer-learning fine-tuning of image classifiers",
        version=version("graft"),
        lifespan=lifespan,
        redirect_slashes=False,  # the middleware drops slashes at the end, also of an upload's address
        separate_input_output_schemas=False,
    )
    app.add_middleware(RequestLimits)
    app.include_router(router)
    register_handlers(app)
    return app


def serve(settings: Settings) -> None:
    """Serve requests until SIGTERM or SIGINT."""
    startup.warn_of_misspelled_settings()
    with startup.ending_when_impossible():
        startup.check(settings)
        startup.check_port(settings)
    startup.warn_of_silent_broker(settings)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http=LimitedProtocol,
        log_level="warning",
        timeout_graceful_shutdown=3,  # open event streams must not keep the process alive
    )


if __name__ == "__main__":
    serve(from_environment())
