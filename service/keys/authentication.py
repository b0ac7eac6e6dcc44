"""Authentication: ASGI middleware that asks every request but probes, login, assets and guide for an API key.

A key comes as `Authorization: Bearer KEY`, or in the cookie that the login sets, since a browser cannot send a header
when it opens an address, an image or an event stream. Where no key is asked for because only this machine can connect,
the name that the request is sent to must be this machine's: else any web page could point a name of its own at
127.0.0.1 (DNS rebinding), and have its reader's browser use the service.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse

from service.errors import GraftError, Unauthorized
from service.keys import repository
from service.keys.errors import HOW, HostNotAllowed, KeyMissing, OriginNotAllowed, ScopeMissing
from service.keys.scopes import READING, Scope, allows, find_needed_scopes, needs_key
from service.problems import build_error_response
from service.settings import is_loopback

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Receive, Send
    from starlette.types import Scope as AsgiScope

    from service.database import Database
    from service.settings import Settings

COOKIE = "graft_key"
BEARER = "bearer "


class Authentication:
    """Refuses requests that have no valid API key, or whose key does not allow them, before their body is read."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer a request that is not allowed; pass on the others, with the id of their key as `state.key`."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        try:
            scope.setdefault("state", {})["key"] = await self._authenticate(request)
        except Unauthorized as error:
            await _build_refusal(request, error)(scope, receive, send)
        except (GraftError, OperationalError, InterfaceError, PoolTimeout) as error:
            await build_error_response(request, error)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _authenticate(self, request: Request) -> str | None:
        """Check a request; returns the id of its key, None where none is needed."""
        if not needs_key(request.url.path):
            return None
        if not self.settings.asks_for_keys:
            _check_sender(request, is_local=self.settings.is_local and self.settings.auth != "off")
            return None
        secret = _find_bearer(request.headers)
        if secret is None:
            secret = _find_cookie(request.headers)
            _check_origin(request)
        if not secret:
            raise KeyMissing(f"This service asks for an API key. {HOW}")
        needed = find_needed_scopes(request.method, request.url.path)
        return await run_in_threadpool(_find_key, request.app.state.database, secret, needed)


def _find_key(database: Database, secret: str, needed: tuple[Scope, ...]) -> str:
    """Find the id of the key that has this secret, and record its use. Raises Unauthorized, ScopeMissing."""
    with database.reading() as session:
        key = repository.authenticate(session, secret)
        is_use_due = repository.is_use_due(session, key)
    if not allows(key.scopes, needed):
        raise ScopeMissing(
            f"The API key {key.id} ({key.name}) has the scope {', '.join(key.scopes)}; this needs "
            f"{' or '.join(needed)}. "
            "Use another key."
        )
    if is_use_due:
        with database.writing() as session:
            repository.record_use(session, key.id)
    return key.id


def _find_bearer(headers: Headers) -> str | None:
    value = headers.get("authorization", "")
    return value[len(BEARER) :].strip() if value.lower().startswith(BEARER) else None


def _find_cookie(headers: Headers) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return found.value if found else None


def _check_sender(request: Request, *, is_local: bool) -> None:
    """Check a request that needs no key: that it is not a web page of another site. Raises Forbidden."""
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    if is_local and not is_loopback(host):
        raise HostNotAllowed(
            f"This service listens on this machine alone, and the request was sent to {host!r:.100}. Send it to "
            "127.0.0.1; where a proxy passes requests on, set GRAFT_AUTH=on and make an API key: graft keys create NAME"
        )
    _check_origin(request)


def _check_origin(request: Request) -> None:
    """Check that a change is not asked for by a page of another site. Raises OriginNotAllowed."""
    origin = request.headers.get("origin")
    if request.method in READING or origin is None:
        return
    if urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower():
        raise OriginNotAllowed(f"A page of {origin:.100} may not use this service. Open the service's own page.")


def _build_refusal(request: Request, error: Unauthorized) -> RedirectResponse | JSONResponse:
    """Build the answer to a request without a valid key: to a browser that opens a page, the login."""
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(path)}", status_code=303)
    response = build_error_response(request, error)
    response.headers["WWW-Authenticate"] = 'Bearer realm="graft"'
    return response
