"""Bounds the bodies of requests, so that nobody fills the memory; uploads stream, and have a bound of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.errors import problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 1 << 20
UPLOADS = "/v1/datasets"
DETAIL = f"The body has more than {MOST_BYTES} bytes. Only POST {UPLOADS} takes more."


class BoundedBodies:
    """ASGI middleware; starlette's own answers in plain text, whatever the application's error handlers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413 to a body that is announced too large; end the reading of one that turns out to be."""
        if scope["type"] != "http" or scope["path"] == UPLOADS:
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > MOST_BYTES:
            answer = problem(Request(scope), 413, "content_too_large", DETAIL)
            await answer(scope, receive, send)
            return
        received = 0

        async def bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > MOST_BYTES:
                raise HTTPException(413, DETAIL)
            return message

        await self.app(scope, bounded, send)
