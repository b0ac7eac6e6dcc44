"""What memory a process takes."""

from __future__ import annotations

import re
import threading
from pathlib import Path


class PeakMemory:
    """Watches what this process has for itself; what is mapped from files is the kernel's to give and take."""

    def __enter__(self) -> PeakMemory:
        self._before = self._peak = _own_bytes()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._peak = max(self._peak, _own_bytes())

    @property
    def megabytes(self) -> float:
        """At its peak, more than before."""
        return (self._peak - self._before) / 1e6

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self._peak = max(self._peak, _own_bytes())


def mapped_megabytes(suffix: str) -> float:
    """What lies in memory of the files that this process has mapped and whose names end so."""
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    sizes = [re.search(r"^Rss: +(\d+) kB", one, re.MULTILINE) for one in mappings if suffix + "\n" in one]
    return sum(int(size[1]) for size in sizes if size) * 1024 / 1e6


def _own_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024
