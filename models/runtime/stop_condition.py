"""Stop condition: ends a fine-tuning before it has learned all it can."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable


class StopCondition:
    """Stops at a time of time.monotonic(), or when somebody asks; without either, never."""

    def __init__(self, until: float | None = None, stop_requested: Callable[[], bool] | None = None) -> None:
        self._until, self._stop_requested = until, stop_requested

    @property
    def reason(self) -> Literal["stopped", "time_budget"] | None:
        """Why to stop now; None to go on."""
        if self._stop_requested is not None and self._stop_requested():
            return "stopped"
        return "time_budget" if self._until is not None and time.monotonic() >= self._until else None


NONE = StopCondition()
