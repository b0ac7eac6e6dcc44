"""Peak and mapped memory of this process."""

from __future__ import annotations

import re
import threading
from pathlib import Path


class PeakMemory:
    """Records the peak of this process's anonymous memory; pages mapped from files do not count."""

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
        """Growth at the peak, in megabytes."""
        return (self._peak - self._before) / 1e6

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self._peak = max(self._peak, _own_bytes())


def mapped_megabytes(suffix: str) -> float:
    """Measure the resident megabytes of mapped files with this suffix."""
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    sizes = [re.search(r"^Rss: +(\d+) kB", one, re.MULTILINE) for one in mappings if suffix + "\n" in one]
    return sum(int(size[1]) for size in sizes if size) * 1024 / 1e6


def _own_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024
