"""Callbacks between a computation and its supervisor: heartbeats, stop requests and snapshot requests."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HEARTBEAT_SECONDS = 1.0


def no_heartbeat() -> None:
    """Send no heartbeat: nobody supervises this process."""


def never() -> bool:
    """Answer no request: nobody supervises this process."""
    return False


@dataclass(frozen=True)
class Context:
    """Callbacks between a long computation and its supervisor; by default there is none."""

    heartbeat: Callable[[], None] = no_heartbeat
    """Called with every batch of work, so that a slow one is not mistaken for a hang."""
    stop_requested: Callable[[], bool] = never
    """Returns True when training should end and keep the best epoch."""
    snapshot_requested: Callable[[], bool] = never
    """Returns True when progress should be saved now, because the process is about to be ended."""


class Heartbeat:
    """Sends heartbeats, at most one in HEARTBEAT_SECONDS, however often it is called."""

    def __init__(self, send: Callable[[], None]) -> None:
        self._send, self._sent = send, 0.0

    def __call__(self) -> None:
        """Send a heartbeat, if the last is at least HEARTBEAT_SECONDS old."""
        now = time.monotonic()
        if now - self._sent >= HEARTBEAT_SECONDS:
            self._sent = now
            self._send()
