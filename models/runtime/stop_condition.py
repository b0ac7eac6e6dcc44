"""A limit: what has a fine-tuning come to its end before it has learned all it can."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable


class StopCondition:
    """A time of time.monotonic(), and somebody who may ask it to stop; without either, none."""

    def __init__(self, until: float | None = None, is_stopped: Callable[[], bool] | None = None) -> None:
        self._until, self._is_stopped = until, is_stopped

    @property
    def reason(self) -> Literal["stopped", "time_budget"] | None:
        """Why it is reached; nothing where it is not."""
        if self._is_stopped is not None and self._is_stopped():
            return "stopped"
        return "time_budget" if self._until is not None and time.monotonic() >= self._until else None


NONE = StopCondition()
