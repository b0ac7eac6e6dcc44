"""Output that changes while one waits: HTML in a notebook, lines elsewhere."""

from __future__ import annotations

import importlib
import sys
import time
from typing import TYPE_CHECKING, Any

from graft import html

if TYPE_CHECKING:
    from collections.abc import Callable

    from graft.results.shared import Event

EACH_SECONDS = 0.5
"""Time between changes of what is shown."""


class LiveOutput:
    """Output of a call that takes long; nothing where it is not wanted.

    show: whether it is wanted; None: in a notebook, where it needs IPython alone, no widgets.
    """

    def __init__(self, show: bool | None = None) -> None:
        self.is_notebook = show is not False and _is_notebook()
        self._prints = show is True and not self.is_notebook
        self._handle: Any = None
        self._changed_at = 0.0

    def is_due(self) -> bool:
        """Check whether what a notebook shows is to be changed now."""
        return self.is_notebook and time.monotonic() - self._changed_at > EACH_SECONDS

    def replace(self, markup: str) -> None:
        """Show this HTML in place of what was shown."""
        display: Any = importlib.import_module("IPython.display")  # a notebook has it
        self._changed_at = time.monotonic()
        if self._handle is None:
            self._handle = display.display(display.HTML(markup), display_id=True)
        else:
            self._handle.update(display.HTML(markup))

    def add_line(self, event: Event) -> None:
        """Print an event's line, where there is no notebook."""
        if self._prints:
            print(f"{event.time:%H:%M:%S} {event.message}", flush=True)

    def count_bytes(self, title: str, total: int) -> Callable[[int], None]:
        """Give what is to be called with the size of each block that was sent."""
        done = 0

        def count(size: int) -> None:
            nonlocal done
            done += size
            if self.is_due() or (self.is_notebook and done >= total):
                self.replace(html.render_progress(title, done, total))

        return count


def _is_notebook() -> bool:
    """Check whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")
