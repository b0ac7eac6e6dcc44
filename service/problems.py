"""Errors as HTTP: every error of the API is a problem+json (RFC 9457) with a stable code."""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from service import disk_full
from service.errors import GraftError
from service.storage import StorageUnavailable

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

log = logging.getLogger(__name__)

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
    return build_problem(request, error.status, error.code, error.detail)


def _handle_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    phrase = "Content Too Large" if error.status_code == 413 else HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    detail = error.detail
    if error.status_code == 404:
        detail = f"{request.url.path} is no address of this service; /openapi.json lists them."
    if error.status_code == 405:
        detail = f"{request.url.path} does not take {request.method}; /openapi.json lists what it takes."
    return build_problem(request, error.status_code, code, detail, headers=error.headers)


def _handle_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [{"loc": _format_location(e["loc"]), "msg": _rewrite_message(e["msg"])} for e in error.errors()]
    detail = "; ".join(f"{e['loc']}: {e['msg']}" for e in errors)
    return build_problem(request, 422, "invalid_request", detail, errors=errors)


def _format_location(loc: tuple[int | str, ...]) -> str:
    """Format the location of an error in the request, without pydantic's names of union branches (literal['auto'])."""
    return ".".join(part for part in map(str, loc) if not BRANCH.fullmatch(part))


def _rewrite_message(message: str) -> str:
    """Rewrite pydantic's message in JSON's terms."""
    return message.removeprefix("Value error, ").replace("valid tuple", "valid list")


def _handle_database_error(request: Request, error: Exception) -> JSONResponse:
    if disk_full.is_disk_full(error):
        return _handle_full_disk(request, error)
    log.warning("the database does not answer: %s", error)
    detail = "The database does not answer now. Send the request again in some seconds."
    return build_problem(request, 503, "database_unavailable", detail, headers={"Retry-After": "5"})


def _handle_full_disk(request: Request, error: Exception) -> JSONResponse:
    log.warning("a disk is full: %s", error)
    detail = "A disk of the service is full, and nothing was kept. Free some space there, then send the request again."
    return build_problem(request, 507, "insufficient_storage", detail, headers={"Retry-After": "60"})


def _handle_storage_error(request: Request, error: Exception) -> JSONResponse:
    log.warning("%s", error)
    detail = "The storage does not answer now, and nothing was kept. Send the request again in some seconds."
    return build_problem(request, 503, "storage_unavailable", detail, headers={"Retry-After": "5"})


def _handle_os_error(request: Request, error: Exception) -> JSONResponse:
    if disk_full.is_disk_full(error):
        return _handle_full_disk(request, error)
    raise error


def _handle_unexpected(request: Request, error: Exception) -> JSONResponse:
    detail = "Graft met an error of its own, which its log shows. If it comes again, please report it."
    return build_problem(request, 500, "internal_error", detail)


def register_handlers(app: FastAPI) -> None:
    """Register the handlers that turn every error of `app` into a problem+json."""
    app.add_exception_handler(GraftError, _handle_graft_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_exception)
    for kind in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(kind, _handle_database_error)
    app.add_exception_handler(StorageUnavailable, _handle_storage_error)
    app.add_exception_handler(OSError, _handle_os_error)
    app.add_exception_handler(Exception, _handle_unexpected)
