"""ASGI middleware that limits and tidies requests: large bodies, characters that no name has, slashes too many."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.json_body import MAX_BYTES
from service.keys.scopes import PREDICTION
from service.problems import UPLOADS, build_problem
from service.uploads import tus

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOO_LARGE = f"The body has more than {MAX_BYTES} bytes. Only POST {' and '.join(UPLOADS)} take larger ones."
SAMPLES = re.compile(r"/v1/backbones/[^/]+/preprocessing")
"""Addresses whose forms may hold an archive of samples."""
NUL = "The address contains a NUL character (%00), which no name has. Remove it."
NOT_UTF8 = "The address has bytes that are no UTF-8. Write each character as the %-escapes of its bytes in UTF-8."


class RequestLimits:
    """Refuses large bodies and addresses that no table stores.

    Starlette's own limit on bodies answers in plain text, past our handlers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request that cannot be served; stop reading a body that turns out to be too large."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope = _drop_slashes(scope)
        if refusal := _find_refusal(scope):
            await build_problem(Request(scope), *refusal)(scope, receive, send)
            return
        if _is_upload(scope):
            await self.app(scope, receive, send)
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


def _drop_slashes(scope: Scope) -> Scope:
    """Take /v1//jobs/ for /v1/jobs."""
    return {**scope, "path": re.sub(r"/{2,}", "/", scope["path"]).rstrip("/") or "/"}


def _find_refusal(scope: Scope) -> tuple[int, str, str] | None:
    """Find why a request is refused before its body is read: status, code and detail of the problem."""
    if "\0" in scope["path"] or b"%00" in scope["query_string"]:
        return 400, "nul_in_address", NUL
    try:
        unquote_to_bytes(scope.get("raw_path") or scope["path"]).decode()
        unquote_to_bytes(scope["query_string"]).decode()
    except UnicodeDecodeError:
        return 400, "address_not_utf8", NOT_UTF8
    declared = Headers(scope=scope).get("content-length", "0")
    if not _is_upload(scope) and declared.isdecimal() and int(declared) > MAX_BYTES:
        return 413, "content_too_large", TOO_LARGE
    return None


def _is_upload(scope: Scope) -> bool:
    """Check whether a request may have a large body: an upload, or one whose method or address is slightly wrong."""
    path: str = scope["path"]
    # `curl -T photos.zip` sends PUT, and appends the file's name to an address that ends with a slash.
    if PREDICTION.fullmatch(path) or tus.is_upload(path):  # which have limits of their own
        return True
    if path in UPLOADS or (scope["method"] in ("PUT", "POST") and path.rpartition("/")[0] in UPLOADS):
        return True
    kind = Headers(scope=scope).get("content-type", "").lower()
    return bool(SAMPLES.fullmatch(path)) and kind.startswith("multipart/form-data")
