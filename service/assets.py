"""Files that the service itself has: compressed where it pays, and asked for again after an upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi.staticfiles import StaticFiles
from starlette.middleware.gzip import GZipMiddleware

if TYPE_CHECKING:
    from fastapi import Response
    from starlette.types import ASGIApp, Scope


class Assets(StaticFiles):
    """Files of the package; browsers keep them, and ask each time whether they have changed."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Read the file at a path."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def compress(files: Assets) -> ASGIApp:
    """Compress files, but small ones."""
    return GZipMiddleware(files, minimum_size=1000)


def build_assets() -> ASGIApp:
    """Build the application that serves the folder static/, of the page and of the documentation."""
    return compress(Assets(packages=[("service", "static")]))
