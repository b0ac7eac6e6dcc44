"""HTTP of predictions."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from pydantic import BeforeValidator
from starlette.concurrency import run_in_threadpool

from service.database import Database
from service.dependencies import DatabaseDep, SettingsDep
from service.errors import GraftError
from service.predictions import protocol
from service.predictions.connections import Answer
from service.predictions.errors import ModelsMissing, TooManyImages, TooManyPredictions
from service.predictions.forwarding import Forwarding, pass_on
from service.predictions.models import RememberedModels, find_models
from service.predictions.protocol import NamedModel, Question
from service.predictions.reading import Asked, read
from service.predictions.schemas import Nearest, Predictions, describe_json
from service.query_parameters import none_if_empty
from service.settings import Settings

router = APIRouter(prefix="/v1", tags=["predictions"])

MOST_PREDICTIONS = 100_000
"""Most predictions of one request: images times models."""

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "models": {"type": "string"},
                        "top_k": {"type": "integer"},
                        "coverage": {"type": "number"},
                    },
                }
            },
            "application/json": {"schema": describe_json()},
        },
    }
}

PNG: dict[str, Any] = {
    "response_class": Response,
    "responses": {200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
}
ClassName = Annotated[
    str | None,
    Query(alias="class", max_length=255, description="Name of a class; by default the most probable one."),
    BeforeValidator(none_if_empty),
]
Count = Annotated[int, Query(ge=1, le=20, description="The nearest images that are listed.")]
Models = Annotated[str | None, Query(description="Names of models or ids of checkpoints, separated by commas.")]
TopK = Annotated[str | None, Query(description="The most probable classes that are listed, 1 to 1000; 5 by default.")]
Coverage = Annotated[
    str | None, Query(description="Share of images whose prediction set is to hold the right class; 0.9 by default.")
]


@router.post("/predict", response_model=Predictions, openapi_extra=BODY)
async def predict(
    request: Request,
    database: DatabaseDep,
    settings: SettingsDep,
    models: Models = None,
    top_k: TopK = None,
    coverage: Coverage = None,
) -> Response:
    """Have models predict: one image as the body, several as a form, or JSON."""
    return await _predict(request, database, settings, None, {"models": models, "top_k": top_k, "coverage": coverage})


@router.post("/checkpoints/{checkpoint_id}/predict", response_model=Predictions, openapi_extra=BODY)
async def predict_with_checkpoint(
    request: Request,
    checkpoint_id: str,
    database: DatabaseDep,
    settings: SettingsDep,
    top_k: TopK = None,
    coverage: Coverage = None,
) -> Response:
    """Have a checkpoint predict: one image as the body, several as a form, or JSON."""
    return await _predict(request, database, settings, checkpoint_id, {"top_k": top_k, "coverage": coverage})


@router.post("/models/{name}/predict", response_model=Predictions, openapi_extra=BODY)
async def predict_with_model(
    request: Request,
    name: str,
    database: DatabaseDep,
    settings: SettingsDep,
    top_k: TopK = None,
    coverage: Coverage = None,
) -> Response:
    """Have the model of a name predict: one image as the body, several as a form, or JSON."""
    return await _predict(request, database, settings, name, {"top_k": top_k, "coverage": coverage})


@router.post("/checkpoints/{checkpoint_id}/saliency", openapi_extra=BODY, **PNG)
async def draw_saliency_of_checkpoint(
    request: Request,
    checkpoint_id: str,
    database: DatabaseDep,
    settings: SettingsDep,
    class_name: ClassName = None,
) -> Response:
    """Draw which parts of one image speak for a class: a PNG to be laid over it, red there, else transparent."""
    return await _draw_saliency(request, database, settings, checkpoint_id, class_name)


@router.post("/models/{name}/saliency", openapi_extra=BODY, **PNG)
async def draw_saliency_of_model(
    request: Request, name: str, database: DatabaseDep, settings: SettingsDep, class_name: ClassName = None
) -> Response:
    """Draw which parts of one image speak for a class: a PNG to be laid over it, red there, else transparent."""
    return await _draw_saliency(request, database, settings, name, class_name)


@router.post("/checkpoints/{checkpoint_id}/nearest", response_model=Nearest, openapi_extra=BODY)
async def find_nearest_of_checkpoint(
    request: Request, checkpoint_id: str, database: DatabaseDep, settings: SettingsDep, count: Count = 6
) -> Response:
    """Find the training images that are most like one image, by their features in the feature cache."""
    return await _find_nearest(request, database, settings, checkpoint_id, count)


@router.post("/models/{name}/nearest", response_model=Nearest, openapi_extra=BODY)
async def find_nearest_of_model(
    request: Request, name: str, database: DatabaseDep, settings: SettingsDep, count: Count = 6
) -> Response:
    """Find the training images that are most like one image, by their features in the feature cache."""
    return await _find_nearest(request, database, settings, name, count)


async def _draw_saliency(
    request: Request, database: Database, settings: Settings, name: str, class_name: str | None
) -> Response:
    headers = {} if class_name is None else {protocol.CLASS_HEADER: quote(class_name)}
    answer = await _ask_about_one(request, database, settings, name, 1, protocol.SALIENCY_PATH, headers)
    if answer.status == 200:
        return Response(answer.content, headers={"X-Content-Type-Options": "nosniff"}, media_type="image/png")
    return pass_on(request, answer)


async def _find_nearest(request: Request, database: Database, settings: Settings, name: str, count: int) -> Response:
    answer = await _ask_about_one(request, database, settings, name, count, protocol.NEAREST_PATH, {})
    if answer.status == 200:
        return Response(answer.content, media_type="application/json")
    return pass_on(request, answer)


async def _ask_about_one(
    request: Request,
    database: Database,
    settings: Settings,
    name: str,
    top_k: int,
    path: str,
    headers: dict[str, str],
) -> Answer:
    """Ask a predictor about one image and one model; raises ModelsMissing, TooManyImages."""
    models = await run_in_threadpool(_find_models, database, [name])
    asked = await read(request, settings, {})
    if asked.options.models is not None:
        raise ModelsMissing(f"{request.url.path} names the model already: leave `models` out.")
    if len(asked.images) != 1:
        raise TooManyImages(f"{request.url.path} takes one image, and the request holds {len(asked.images)}.")
    question = Question(models, asked.images, top_k, asked.options.coverage, is_alone=True)
    forwarding: Forwarding = request.app.state.forwarding
    return await forwarding.ask(protocol.encode(question, asked.files), path, headers)


async def _predict(
    request: Request, database: Database, settings: Settings, name: str | None, query: dict[str, str | None]
) -> Response:
    found = None if name is None else await _find(request, database, [name])
    asked = await read(request, settings, query)
    names = asked.options.models
    if found is not None:
        if names is not None:
            raise ModelsMissing(f"{request.url.path} names the model already: leave `models` out, or use /v1/predict.")
    elif not names:
        raise ModelsMissing("The request names no model. Name some by ?models=NAME,NAME, or a field `models`.")
    else:
        _check_predictions(len(asked.images), len(names))
        found = await _find(request, database, names)
    answer = await _ask(request, database, found, asked)
    if answer.status == 200:
        return Response(answer.content, media_type="application/json")
    return pass_on(request, answer)


def _check_predictions(images: int, models: int) -> None:
    if images * models > MOST_PREDICTIONS:
        raise TooManyPredictions(
            f"{images:,} images and {models:,} models are more than {MOST_PREDICTIONS:,} predictions. "
            "Send several requests."
        )


async def _ask(request: Request, database: Database, found: Found, asked: Asked) -> Answer:
    """Ask a predictor, while the database tells whether remembered models are still these; if not, ask again."""
    forwarding: Forwarding = request.app.state.forwarding

    async def ask(models: list[NamedModel]) -> Answer:
        options = asked.options
        question = Question(models, asked.images, options.top_k, options.coverage, asked.is_alone)
        return await forwarding.ask(protocol.encode(question, asked.files))

    if found.is_current:
        return await ask(found.models)
    looking = _look_up(request, database, [named.model for named in found.models])
    models, answer = await asyncio.gather(looking, ask(found.models), return_exceptions=True)
    if isinstance(models, BaseException):
        raise models
    if models != found.models:
        return await ask(models)
    if isinstance(answer, BaseException):
        raise answer
    return answer


class Found(NamedTuple):
    """Models that a request names."""

    models: list[NamedModel]
    is_current: bool
    """Whether the database told them during this request; else they are remembered, which it must confirm."""


async def _find(request: Request, database: Database, names: list[str]) -> Found:
    """Find what names stand for: as it is remembered, or else in the database."""
    remembered: RememberedModels = request.app.state.remembered_models
    models = remembered.recall(names)
    if models is not None:
        return Found(models, is_current=False)
    return Found(await _look_up(request, database, names), is_current=True)


async def _look_up(request: Request, database: Database, names: list[str]) -> list[NamedModel]:
    """Look up what names stand for, and remember it for the next request."""
    remembered: RememberedModels = request.app.state.remembered_models
    try:
        models = await run_in_threadpool(_find_models, database, names)
    except GraftError:
        remembered.forget(names)
        raise
    remembered.remember(models)
    return models


def _find_models(database: Database, names: list[str]) -> list[NamedModel]:
    with database.connecting() as connection:
        return find_models(connection, names)
