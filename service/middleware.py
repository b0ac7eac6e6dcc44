"""ASGI middleware that limits requests: refuses bodies that would fill the memory, and NUL characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.problems import build_problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BYTES = 1 << 20
UPLOADS = "/v1/datasets"
"""Uploads are streamed, and have a limit of their own."""
TOO_LARGE = f"The body has more than {MAX_BYTES} bytes. Only POST {UPLOADS} takes larger ones."
NUL = "The address contains a NUL character (%00), which no name has. Remove it."


class RequestLimits:
    """Refuses large bodies and NUL characters. Starlette's own limit answers in plain text, past our handlers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request that is too large or has a NUL; stop reading a body that turns out to be too large."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            await build_problem(Request(scope), 400, "nul_in_address", NUL)(scope, receive, send)
            return
        if scope["path"] == UPLOADS:
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > MAX_BYTES:
            await build_problem(Request(scope), 413, "content_too_large", TOO_LARGE)(scope, receive, send)
            return
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BYTES:
                raise HTTPException(413, TOO_LARGE)
            return message

        await self.app(scope, receive_limited, send)
