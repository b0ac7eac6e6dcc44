"""Sleeping, and reading and writing files, without asyncio: each call blocks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = TypeVar("Result")

sleep = time.sleep


def run(function: Callable[[], Result]) -> Result:
    """Run what reads or writes files."""
    return function()


def stream(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Stream the body of a request."""
    return blocks
