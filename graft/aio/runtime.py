"""Sleeping, and reading and writing files, with asyncio: the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

Result = TypeVar("Result")

sleep = asyncio.sleep


async def run(function: Callable[[], Result]) -> Result:
    """Run what reads or writes files in a thread."""
    return await asyncio.to_thread(function)


async def stream(blocks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Stream the body of a request, each block made in a thread."""
    while (block := await asyncio.to_thread(next, blocks, None)) is not None:
        yield block
