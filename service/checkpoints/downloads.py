"""Downloads of files that are known by their digest, whole or in part."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from service import range_requests
from service.problems import build_problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.storage import Storage

BLOCK = 1 << 20


def give_content(
    request: Request,
    size: int,
    headers: dict[str, str],
    read: Callable[[int, int], Iterator[bytes]],
    media_type: str = "application/octet-stream",
) -> Response:
    """Give a file, or the part of it that the request asks for; `read` reads from a byte to before another."""
    etag = headers["ETag"]
    if range_requests.is_unchanged(request.headers, etag):
        return Response(status_code=304, headers=headers)
    # Only GET has ranges (RFC 9110, 14.2).
    span = range_requests.parse_range(request.headers, etag, size) if request.method == "GET" else None
    if span is not None and span.start >= size:
        detail = f"The file has {size} bytes; ask for a range that begins before its end."
        place = {"Content-Range": f"bytes */{size}"}
        return build_problem(request, 416, "range_not_satisfiable", detail, headers=place)
    start, stop = span or (0, size)
    headers["Content-Length"] = str(stop - start)
    if span is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    status = 200 if span is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    return StreamingResponse(read(start, stop), status, headers, media_type)


def build_headers(name: str, digest: str) -> dict[str, str]:
    """Build the headers of a file with this digest, which is saved under this name."""
    encoded = base64.b64encode(bytes.fromhex(digest)).decode()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return {
        "ETag": f'"{digest}"',
        "Accept-Ranges": "bytes",
        "Repr-Digest": f"sha-256=:{encoded}:",
        "Content-Disposition": f'attachment; filename="{name}"',
        # The bytes of an id never change, but the id may be deleted.
        "Cache-Control": "private, no-cache",
    }


def read_stored(storage: Storage, key: str, start: int, stop: int) -> Iterator[bytes]:
    """Read a file of the storage from a byte to before another."""
    with storage.reading(key) as file:
        file.seek(start)
        while start < stop:
            block = file.read(min(BLOCK, stop - start))
            if not block:
                raise FileNotFoundError(f"{key} is cut off in the storage")
            start += len(block)
            yield block
