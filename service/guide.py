"""The guide at /guide: the pages that `make guide` has built from docs/, for everybody, or how to build them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse, RedirectResponse

from service.assets import Assets, compress

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Scope

router = APIRouter(include_in_schema=False)

SITE = Path(__file__).with_name("site")
"""Where `make guide` puts the pages; a wheel has them if they were built before it."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; worker-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
"""Of the theme's own: it reads its search index by a worker, has icons as data, and tables style their cells."""
MISSING = "The guide is not built here: run `make guide` in the checkout, or read docs/index.md.\n"


class _Pages(Assets):
    """Pages of the guide, each with a policy that lets it load nothing from elsewhere."""

    async def check_config(self) -> None:
        """Ask for the folder only where the pages are built."""
        if _is_built():
            await super().check_config()

    async def get_response(self, path: str, scope: Scope) -> Response:
        if not _is_built():
            return PlainTextResponse(MISSING, 404)
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = POLICY
        return response


@router.get("/guide")
def show_guide() -> Response:
    """Lead to the first page of the guide; links are relative to a page, so /guide cannot be one."""
    return RedirectResponse("/guide/index.html") if _is_built() else PlainTextResponse(MISSING, 404)


def build_guide() -> ASGIApp:
    """Build the application that serves the guide."""
    return compress(_Pages(directory=SITE, check_dir=False))


def _is_built() -> bool:
    return (SITE / "index.html").is_file()
