"""What can go wrong for a caller: the tree of named errors, each an RFC 9457 problem with its status.

GraftError
├── BadRequest 400
├── NotFound 404        (one per noun: DatasetNotFound, JobNotFound, …)
├── Conflict 409        the state of things does not allow it now
├── TooLarge 413
├── Unprocessable 422   well-formed, but it cannot be done as asked
└── Unavailable 503     not now; the same request may work later

Each noun's own errors stand in its folder and derive from these.
"""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from service import disk_full

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

log = logging.getLogger(__name__)

BRANCH = re.compile(r"(literal|function-(before|after|wrap|plain)|tagged-union|union|nullable)\[.*\]|constrained-\w+")
"""A branch of a union, as pydantic names it among the keys of what was sent."""


class GraftError(Exception):
    """An error that its reader can act on. `detail` says what happened and what to do."""

    status: ClassVar[int] = 500

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def code(self) -> str:
        """The stable name of the error: the class name in snake_case."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()


class BadRequest(GraftError):
    """The request itself is malformed."""

    status = 400


class NotFound(GraftError):
    """There is no such thing, or no longer."""

    status = 404


class Conflict(GraftError):
    """The present state does not allow it."""

    status = 409


class TooLarge(GraftError):
    """More bytes than this deployment takes."""

    status = 413


class Unprocessable(GraftError):
    """Well-formed, but it cannot be done as asked."""

    status = 422


class Unavailable(GraftError):
    """Not now; the same request may work later."""

    status = 503


def problem(request: Request, status: int, code: str, detail: str, **more: Any) -> JSONResponse:
    """An RFC 9457 answer; `headers` in `more` become HTTP headers, the rest extension members."""
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


def _graft_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GraftError)
    return problem(request, error.status, error.code, error.detail)


def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    phrase = "Content Too Large" if error.status_code == 413 else HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "_").replace("-", "_")
    detail = error.detail
    if error.status_code == 404:
        detail = f"{request.url.path} is no address of this service; /openapi.json lists them."
    if error.status_code == 405:
        detail = f"{request.url.path} does not take {request.method}; /openapi.json lists what it takes."
    return problem(request, error.status_code, code, detail, headers=error.headers)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [{"loc": _place(e["loc"]), "msg": _said(e["msg"])} for e in error.errors()]
    detail = "; ".join(f"{e['loc']}: {e['msg']}" for e in errors)
    return problem(request, 422, "invalid_request", detail, errors=errors)


def _place(loc: tuple[int | str, ...]) -> str:
    """Where an error is, without what pydantic calls the branches of a union (literal['auto'], constrained-int)."""
    return ".".join(part for part in map(str, loc) if not BRANCH.fullmatch(part))


def _said(message: str) -> str:
    """What is wrong, in words of JSON."""
    return message.removeprefix("Value error, ").replace("valid tuple", "valid list")


def _database_unavailable(request: Request, error: Exception) -> JSONResponse:
    if disk_full.is_lacking(error):
        return _no_room(request, error)
    log.warning("the database does not answer: %s", error)
    detail = "The database does not answer now. Send the request again in some seconds."
    return problem(request, 503, "database_unavailable", detail, headers={"Retry-After": "5"})


def _no_room(request: Request, error: Exception) -> JSONResponse:
    log.warning("a disk is full: %s", error)
    detail = "A disk of the service is full, and nothing was kept. Free some space there, then send the request again."
    return problem(request, 507, "insufficient_storage", detail, headers={"Retry-After": "60"})


def _broken_file(request: Request, error: Exception) -> JSONResponse:
    if disk_full.is_lacking(error):
        return _no_room(request, error)
    raise error


def _unexpected(request: Request, error: Exception) -> JSONResponse:
    detail = "Graft met an error of its own, which its log shows. If it comes again, please report it."
    return problem(request, 500, "internal_error", detail)


def answer_with_problems(app: FastAPI) -> None:
    """Make every error of `app` a problem+json."""
    app.add_exception_handler(GraftError, _graft_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_exception)
    for kind in (OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(kind, _database_unavailable)
    app.add_exception_handler(OSError, _broken_file)
    app.add_exception_handler(Exception, _unexpected)
