"""The guard before all endpoints: refuses bodies that would fill the memory, and characters that nothing can store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.problems import build_problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 1 << 20
UPLOADS = "/v1/datasets"
"""Uploads stream, and have a bound of their own."""
TOO_LARGE = f"The body has more than {MOST_BYTES} bytes. Only POST {UPLOADS} takes more."
NUL = "The address holds a NUL character (%00), which no name has. Leave it out."


class Guard:
    """ASGI middleware. Starlette's own bound on bodies answers in plain text, whatever the application's handlers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what cannot be taken; end the reading of a body that turns out to be too large."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            await build_problem(Request(scope), 400, "nul_in_address", NUL)(scope, receive, send)
            return
        if scope["path"] == UPLOADS:
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > MOST_BYTES:
            await build_problem(Request(scope), 413, "content_too_large", TOO_LARGE)(scope, receive, send)
            return
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MOST_BYTES:
                raise HTTPException(413, TOO_LARGE)
            return message

        await self.app(scope, bounded, send)
