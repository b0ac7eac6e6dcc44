"""Stop condition of training: a time limit or a user's request."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Literal

from models.runtime.supervisor_callbacks import never

if TYPE_CHECKING:
    from collections.abc import Callable


class StopCondition:
    """Stops training at a deadline, a time of time.monotonic(), or on request; without either, never."""

    def __init__(self, until: float | None = None, stop_requested: Callable[[], bool] = never) -> None:
        self._until, self._stop_requested = until, stop_requested

    @property
    def reason(self) -> Literal["stopped", "time_budget"] | None:
        """Reason to stop now; None to continue."""
        if self._stop_requested():
            return "stopped"
        return "time_budget" if self._until is not None and time.monotonic() >= self._until else None

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; infinite without one."""
        return math.inf if self._until is None else max(0.0, self._until - time.monotonic())


NONE = StopCondition()
