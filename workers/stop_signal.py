"""SIGTERM and SIGINT: requests to stop this process, for which its threads can wait."""

from __future__ import annotations

import os
import select
import signal


class StopSignal:
    """Handles SIGTERM and SIGINT from its creation on, which must be in the main thread.

    Its handler must not set a `threading.Event`: Python runs handlers in the main thread, between any two instructions,
    which may be those of `Event.wait`, or of an earlier handler in `Event.set`. Either holds the event's lock, and the
    process would wait for itself. Writing to a pipe takes no lock.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        self._has_come = False
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._handle)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for a signal, at most `seconds`; true if one has come, now or earlier."""
        return bool(select.select([self._reader], [], [], seconds)[0])

    def _handle(self, *_: object) -> None:
        if not self._has_come:
            self._has_come = True
            os.write(self._writer, b"\0")  # never read, so every later wait returns at once
