"""Errors as HTTP: every error of the API is a problem+json (RFC 9457) with a stable code."""

from __future__ import annotations

import logging
import re
import sqlite3
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.routing import Match

from service import disk_full
from service.database import describe_error, get_sqlite_code
from service.errors import GraftError
from service.storage import StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastapi import FastAPI, Request
    from pydantic import ValidationError

log = logging.getLogger(__name__)

UPLOADS = {"/v1/datasets": "photos.zip", "/v1/backbones": "model.onnx"}
"""Addresses of uploads, which are streamed and have limits of their own, with a file for examples."""
EXPECTED = "Input should be "
AGAIN = "send it again; a resumable upload goes on at its Upload-Offset"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
BRANCH = re.compile(r"(literal|function-(before|after|wrap|plain)|tagged-union|union|nullable)\[.*\]|constrained-\w+")
"""Names that pydantic gives the branches of a union, among the keys of the request."""


def build_problem(request: Request, status: int, code: str, detail: str, **more: Any) -> JSONResponse:
    """Build a problem+json response; `headers` in `more` become HTTP headers, the rest extension members."""
    headers = more.pop("headers", None)
    body = {
        "type": f"urn:graft:error:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        "code": code,
        **more,
    }
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def _handle_graft_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GraftError)
    headers = None if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    more = {} if error.loc is None else {"errors": [{"loc": error.loc, "msg": error.detail}]}
    return build_problem(request, error.status, error.code, error.detail, headers=headers, **more)


def handle_http_exception(request: Request, error: Exception) -> JSONResponse:
    """Build the problem of an address that is none, or of a method that it does not take."""
    assert isinstance(error, HTTPException)
    phrase = "Content Too Large" if error.status_code == 413 else HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    detail, headers = error.detail, error.headers
    if error.status_code == 404:
        detail = f"{request.url.path} is no address of this service; {_suggest_address(request)}"
    if error.status_code == 405:
        allowed = ", ".join(_find_methods(request, request.url.path))
        detail, headers = _explain_method(request, allowed), {"Allow": allowed}
    return build_problem(request, error.status_code, code, detail, headers=headers)


def _find_methods(request: Request, path: str) -> list[str]:
    """Find the methods that an address takes; empty where there is no such address."""
    scope = {**request.scope, "path": path}
    return [
        method
        for method in METHODS
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]


def _suggest_address(request: Request) -> str:
    path = f"/v1/{request.url.path.removeprefix('/api').removeprefix('/v1').lstrip('/')}"
    return f"did you mean {path}?" if _find_methods(request, path) else "/openapi.json lists them."


def _explain_method(request: Request, allowed: str) -> str:
    path = request.url.path
    upload = next((address for address in UPLOADS if path.startswith(address)), None)
    if request.method in ("PUT", "POST") and upload:
        example = f"curl -X POST -T {UPLOADS[upload]} {request.base_url}{upload[1:]}"
        return f"An upload is a POST to {upload}, as in: {example}"
    return f"{path} does not take {request.method}, but {allowed}; /openapi.json says what for."


def _handle_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    messages = _collect_messages(error.errors())
    errors = [{"loc": loc, "msg": msg} for loc, msg in messages.items()]
    return build_problem(request, 422, "invalid_request", _join_messages(messages), errors=errors)


def describe_invalid(error: ValidationError | RequestValidationError) -> str:
    """Describe in one line which fields are invalid, and why."""
    return _join_messages(_collect_messages(error.errors()))


def _collect_messages(errors: Sequence[Any]) -> dict[str, str]:
    """Collect the message for each location that pydantic's errors name."""
    messages: dict[str, list[str]] = {}
    for found in errors:
        messages.setdefault(_format_location(found["loc"]), []).append(_rewrite_message(found["msg"]))
    return {loc: _join_alternatives(alternatives) for loc, alternatives in messages.items()}


def _join_messages(messages: dict[str, str]) -> str:
    return "; ".join(f"{loc}: {msg}" for loc, msg in messages.items())


def _format_location(loc: tuple[int | str, ...]) -> str:
    """Format the location of an error in the request, without pydantic's names of union branches (literal['auto'])."""
    return ".".join(part for part in map(str, loc) if not BRANCH.fullmatch(part))


def _join_alternatives(messages: list[str]) -> str:
    """Join what the branches of a union have against one value: "Input should be greater than 0, or 'auto'"."""
    return ", or ".join([messages[0], *(message.removeprefix(EXPECTED) for message in messages[1:])])


def _rewrite_message(message: str) -> str:
    """Rewrite pydantic's message in JSON's terms."""
    message = message.removeprefix("Value error, ").replace("valid tuple", "valid list")
    message = message.removesuffix(" or object to extract fields from")
    return re.sub(r"(?i)(valid )?\bdictionary\b", lambda found: f"{found[1] or ''}object", message)


def _handle_database_error(request: Request, error: Exception) -> JSONResponse:
    if disk_full.is_disk_full(error):
        return _handle_full_disk(request, error)
    if get_sqlite_code(getattr(error, "orig", None)) == sqlite3.SQLITE_ERROR:
        raise error  # a statement that it cannot run
    log.warning("the database does not answer: %s", describe_error(error))
    detail = "The database does not answer now. Send the request again in some seconds."
    return build_problem(request, 503, "database_unavailable", detail, headers={"Retry-After": "5"})


def _handle_full_disk(request: Request, error: Exception) -> JSONResponse:
    log.warning("a disk is full: %s", describe_error(error))
    detail = f"A disk of the service is full, and the request failed. Free some space there, then {AGAIN}."
    return build_problem(request, 507, "insufficient_storage", detail, headers={"Retry-After": "60"})


def _handle_storage_error(request: Request, error: Exception) -> JSONResponse:
    log.warning("%s", error)
    detail = f"The storage does not answer now, and the request failed. In some seconds, {AGAIN}."
    return build_problem(request, 503, "storage_unavailable", detail, headers={"Retry-After": "5"})


def _handle_os_error(request: Request, error: Exception) -> JSONResponse:
    if disk_full.is_disk_full(error):
        return _handle_full_disk(request, error)
    raise error


def build_error_response(request: Request, error: Exception) -> JSONResponse:
    """Build the response to an error of the service or its database that a middleware meets, outside the handlers."""
    handle = _handle_graft_error if isinstance(error, GraftError) else _handle_database_error
    return handle(request, error)


def _handle_unexpected(request: Request, error: Exception) -> JSONResponse:
    detail = "Graft met an error of its own, which its log shows. If it comes again, please report it."
    return build_problem(request, 500, "internal_error", detail)


def register_handlers(app: FastAPI) -> None:
    """Register the handlers that turn every error of `app` into a problem+json."""
    app.add_exception_handler(GraftError, _handle_graft_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, handle_http_exception)
    for kind in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(kind, _handle_database_error)
    app.add_exception_handler(StorageUnavailable, _handle_storage_error)
    app.add_exception_handler(OSError, _handle_os_error)
    app.add_exception_handler(Exception, _handle_unexpected)
