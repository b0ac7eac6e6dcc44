"""Reading of requests for predictions: one image as it is, a form with many, or JSON."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from service import content_encoding, json_body
from service.predictions.errors import NoImage, RequestTooLarge, TooManyImages
from service.predictions.protocol import SentImage
from service.predictions.schemas import Options, PredictBody
from service.uploads.form import Form, FormShape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import Request

    from service.predictions.schemas import ImageSource
    from service.settings import Settings

Checked = TypeVar("Checked", bound=BaseModel)

FIELD_BYTES = 1 << 18
SHAPE = FormShape(
    how="as in: curl -F file=@cat.jpg -F file=@dog.jpg -F models=NAME URL",
    fields={"models": FIELD_BYTES, "top_k": 20, "coverage": 40},
    is_file_required=False,
    is_open=True,
)


@dataclass(frozen=True)
class Asked:
    """A request for predictions."""

    options: Options
    images: list[SentImage]
    files: list[bytes]
    is_alone: bool
    """Whether it is one image as it is, and not one of a list."""


async def read(request: Request, settings: Settings, query: dict[str, str | None]) -> Asked:
    """Read a request, whose options may stand in its query too.

    Raises NoImage, TooManyImages, RequestTooLarge, FormMalformed, RequestValidationError, HTTPException.
    """
    given = {name: value for name, value in query.items() if value is not None}
    chunks = _limit(content_encoding.decode(request.headers, request.stream()), settings.max_predict_bytes)
    kind = request.headers.get("content-type", "").lower()
    try:
        if kind.startswith("multipart/form-data"):
            return await _read_form(request, chunks, settings, given)
        body = b"".join([chunk async for chunk in chunks])
    except ClientDisconnect:
        raise HTTPException(400, "The connection ended before the request did. Send it again.") from None
    if "json" in kind or body.lstrip()[:1] == b"{":
        return _read_json(request, body, settings, given)
    if not body:
        raise _miss_image(request)
    return Asked(_validate(Options, given, "query"), [SentImage(None, len(body))], [body], is_alone=True)


async def _limit(chunks: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > most:
            raise RequestTooLarge(
                f"A request for predictions may have {most:,} bytes. Send fewer images at once, or raise "
                "GRAFT_MAX_PREDICT_BYTES."
            )
        yield chunk


async def _read_form(
    request: Request, chunks: AsyncIterator[bytes], settings: Settings, given: dict[str, str]
) -> Asked:
    form = Form(request.headers["content-type"], SHAPE)
    parts: dict[str, list[bytes]] = {}
    async for name, block in form.read(chunks):
        _check_count(len(form.file_names), settings)
        parts.setdefault(name, []).append(block)
    _check_count(len(form.file_names), settings)
    if not form.file_names:
        raise _miss_image(request)
    options = _validate(Options, _join(given, form.fields), "body")
    files = [b"".join(parts.get(name, [])) for name in form.file_names]
    images = [SentImage(name or None, len(file)) for name, file in zip(form.file_names.values(), files, strict=True)]
    return Asked(options, images, files, is_alone=False)


def _read_json(request: Request, body: bytes, settings: Settings, given: dict[str, str]) -> Asked:
    value = json_body.parse(request, body)
    for name in given.keys() & value.keys():
        _refuse_twice(name)
    parsed = _validate(PredictBody, {**_split(given), **value}, "body")
    _check_count(len(parsed.images), settings)
    if not parsed.images:
        raise _miss_image(request)
    pairs = [_read_source(place, source) for place, source in enumerate(parsed.images)]
    options = Options(models=parsed.models, top_k=parsed.top_k, coverage=parsed.coverage)
    return Asked(options, [image for image, _ in pairs], [file for _, file in pairs], is_alone=False)


def _read_source(place: int, source: ImageSource) -> tuple[SentImage, bytes]:
    if source.base64 is None:
        assert source.dataset is not None
        assert source.digest is not None
        digest = source.digest.removeprefix("sha256:")
        return SentImage(source.name or f"sha256:{digest}", dataset=source.dataset, digest=digest), b""
    name = source.name or str(place)
    try:
        # As web pages write it: data:image/png;base64,…
        file = base64.b64decode(re.sub(r"^data:[^,]*,|\s+", "", source.base64), validate=True)
    except (binascii.Error, ValueError) as error:
        return SentImage(name, error={"code": "base64_malformed", "message": f"This is no base64: {error}."}), b""
    return SentImage(name, len(file)), file


def _check_count(count: int, settings: Settings) -> None:
    if count > settings.max_predict_images:
        raise TooManyImages(
            f"A request may hold {settings.max_predict_images:,} images, and this one holds more. Send several "
            "requests, or raise GRAFT_MAX_PREDICT_IMAGES."
        )


def _miss_image(request: Request) -> NoImage:
    # The address names the model, or the query does.
    address = f"{request.url.replace(query='')}{'' if request.path_params else '?models=NAME'}"
    return NoImage(f"The request holds no image. Send one, as in: curl -X POST -T cat.jpg '{address}'")


def _join(given: dict[str, str], fields: dict[str, str]) -> dict[str, str]:
    for name in given.keys() & fields.keys():
        _refuse_twice(name)
    return given | fields


def _refuse_twice(name: str) -> None:
    message = "is given in the query and in the body; give it once"
    raise RequestValidationError([{"type": "query", "loc": ("query", name), "msg": message, "input": None}])


def _split(given: dict[str, str]) -> dict[str, Any]:
    """Split names of models, which commas separate in the query and in forms."""
    names = [name.strip() for name in given.get("models", "").split(",") if name.strip()]
    return {**given, **({"models": names} if "models" in given else {})}


def _validate(schema: type[Checked], values: dict[str, Any], where: str) -> Checked:
    try:
        return schema.model_validate(values if schema is PredictBody else _split(values))
    except ValidationError as error:
        found = [{**bad, "loc": (where, *bad["loc"])} for bad in error.errors(include_url=False, include_context=False)]
        raise RequestValidationError(found) from None
