"""The pulse of a process: a sign of life with every batch of work, by which a long one is told from one that hangs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY_SECONDS = 1.0


class _Pulse:
    tell: Callable[[], None] | None = None
    told = 0.0


def listen(tell: Callable[[], None]) -> None:
    """Have `tell()` called while this process gets on with its work, at most every EVERY_SECONDS."""
    _Pulse.tell = staticmethod(tell)


def beat() -> None:
    """Something was done."""
    now = time.monotonic()
    if _Pulse.tell is not None and now - _Pulse.told >= EVERY_SECONDS:
        _Pulse.told = now
        _Pulse.tell()
