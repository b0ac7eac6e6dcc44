"""Render views of the page: templates with the texts of the catalog, and headers that keep scripts of others out."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException

from service.errors import GraftError
from service.keys.authentication import COOKIE
from service.pages import formats, texts
from service.problems import describe_invalid, handle_http_exception

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastapi import Request, Response

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
API = "/v1/"
"""Where addresses of the API begin."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "private, no-cache",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept, Cookie, HX-Request",
}


class PageRoute(APIRoute):
    """A route of the page, for browsers: its errors are views too, and programs are led to the API."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Show an error that the user can act on, of a part as its problem, which the page's script tells.

        To a program, /jobs is no address, as it means /v1/jobs.
        """
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            is_part = "hx-request" in request.headers
            if not (wants_page(request) or is_part or request.url.path == "/"):
                raise HTTPException(404)
            try:
                return await handle(request)
            except GraftError as error:
                if is_part:
                    raise
                return render_error(request, error.status, error.detail)
            except RequestValidationError as error:
                if is_part:
                    raise
                return render_error(request, 422, describe_invalid(error))

        return handle_page


def render(request: Request, template: str, http_status: int = 200, **values: Any) -> HTMLResponse:
    """Render a template."""
    content = _environment.get_template(template).render(
        request=request, path=request.url.path, has_key=COOKIE in request.cookies, **values
    )
    return HTMLResponse(content, http_status, HEADERS)


def render_error(request: Request, status: int, detail: str) -> HTMLResponse:
    """Render what happened, and what to do."""
    return render(request, "error.html", status, title=texts.find(f"error.{status}", ""), detail=detail)


async def show_no_view(request: Request, error: Exception) -> Response:
    """Show that an address is none, to a browser; to a program, as the API does."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and wants_page(request) and not request.url.path.startswith(API):
        return render_error(request, 404, texts.translate("error.no_view", path=request.url.path))
    return handle_http_exception(request, error)


def compile_templates() -> None:
    """Compile all templates, so that the first request of a view takes no longer than the next.

    It takes some tenths of a second, in which the service answers already.
    """
    for name in _environment.list_templates():
        _environment.get_template(name)


def wants_page(request: Request) -> bool:
    """Tell whether a browser asks for something to show, rather than a program."""
    return "text/html" in request.headers.get("accept", "")


def _dump_json(value: Any) -> Markup:
    """Write JSON for a script element, which it cannot end."""
    text = json.dumps(value, ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  nothing of it is markup


_environment = Environment(
    loader=PackageLoader("service.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.globals |= {"t": texts.translate, "find_text": texts.find, "version": version("graft")}
_environment.filters |= {
    "share": formats.format_share,
    "count": formats.format_count,
    "short": formats.format_short,
    "bytes": formats.format_bytes,
    "seconds": formats.format_seconds,
    "number": formats.format_number,
    "time": formats.format_time,
    "machine_time": formats.format_machine_time,
    "json": _dump_json,
}
