"""Conditional and partial downloads (RFC 9110): If-None-Match, Range and If-Range."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_ONE_RANGE = re.compile(r"bytes=\s*(\d{0,18})-(\d{0,18})\s*", re.ASCII)


class Span(NamedTuple):
    """The bytes from `start` to before `stop`."""

    start: int
    stop: int


def is_unchanged(headers: Mapping[str, str], etag: str) -> bool:
    """Check whether the caller already has the version `etag` (If-None-Match)."""
    tags = [tag.strip().removeprefix("W/") for tag in headers.get("if-none-match", "").split(",")]
    return etag in tags or "*" in tags


def parse_range(headers: Mapping[str, str], etag: str, size: int) -> Span | None:
    """Parse the requested range; None for the whole file. A range that starts at `size` or beyond cannot be served.

    As the RFC allows, several ranges, malformed ones, and those whose If-Range names another version give the whole.
    """
    found = _ONE_RANGE.fullmatch(headers.get("range", ""))
    if found is None or headers.get("if-range", etag) != etag:
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        return Span(max(size - int(last), 0) if int(last) else size, size)
    start, stop = int(first), min(int(last) + 1, size) if last else size
    if last and int(last) < start:
        return None
    return Span(start, stop)
