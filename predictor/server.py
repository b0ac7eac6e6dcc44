"""HTTP of a predictor, for the API alone: it sends the secret that the predictor has put into the database."""

from __future__ import annotations

import asyncio
import hmac
import logging
from concurrent.futures import Future
from contextlib import asynccontextmanager
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from predictor.errors import NO_MEMORY, PredictionFailed
from predictor.thumbnails import Thumbnails
from service.datasets import thumbnails
from service.predictions import protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request

    from predictor.predicting import Answering
    from predictor.registration import Registration
    from service.database import Database
    from service.settings import Settings

    Handler = Callable[[Request], Awaitable[Response]]

log = logging.getLogger(__name__)


def create_app(database: Database, settings: Settings, registration: Registration) -> Starlette:
    """Create the application. It listens at once; torch is loaded meanwhile, and requests wait for it."""
    answering: Future[Answering] = Future()
    made = Thumbnails(settings)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        Thread(target=_load, args=(answering, database, settings), name="start", daemon=True).start()
        registration.start()
        yield
        registration.stop()
        if answering.done() and answering.exception() is None:
            answering.result().close()
        made.close()

    async def predict(request: Request) -> Response:
        question, files = protocol.decode(await request.body())
        return JSONResponse(await (await asyncio.wrap_future(answering)).answer(question, files))

    async def explain(request: Request) -> Response:
        question, files = protocol.decode(await request.body())
        name = unquote(request.headers.get(protocol.CLASS_HEADER, "")) or None
        drawn = await (await asyncio.wrap_future(answering)).explain(question, files, name)
        return Response(drawn, media_type="image/png")

    async def find_nearest(request: Request) -> Response:
        question, files = protocol.decode(await request.body())
        return JSONResponse(await (await asyncio.wrap_future(answering)).find_nearest(question, files))

    async def make_thumbnail(request: Request) -> Response:
        order = thumbnails.ThumbnailOrder.from_bytes(await request.body())
        return Response(await made.get(order), media_type="image/jpeg")

    handlers = {
        protocol.PATH: predict,
        protocol.SALIENCY_PATH: explain,
        protocol.NEAREST_PATH: find_nearest,
        thumbnails.PATH: make_thumbnail,
    }
    routes = [Route(path, _guard(registration, handle), methods=["POST"]) for path, handle in handlers.items()]
    return Starlette(routes=routes, lifespan=lifespan)


def _load(answering: Future[Answering], database: Database, settings: Settings) -> None:
    try:
        from predictor.predicting import Answering  # with torch, which takes seconds

        answering.set_result(Answering(database, settings))
    except BaseException as error:  # every request learns of it
        log.exception("the predictor cannot load its libraries")
        answering.set_exception(error)


def _guard(registration: Registration, handle: Handler) -> Handler:
    """Ask for the secret, and answer errors as JSON."""

    async def guarded(request: Request) -> Response:
        given = request.headers.get(protocol.SECRET_HEADER, "")
        if not hmac.compare_digest(given.encode(), registration.secret.encode()):
            return _refuse(403, "forbidden", "A predictor answers Graft's API alone.")
        try:
            return await handle(request)
        except PredictionFailed as error:
            return _refuse(error.status, error.code, error.detail)
        except MemoryError:
            return _refuse(503, NO_MEMORY["code"], NO_MEMORY["message"])

    return guarded


def _refuse(status: int, code: str, detail: str) -> JSONResponse:
    return JSONResponse({"code": code, "detail": detail}, status)
