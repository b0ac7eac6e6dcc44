"""Memory of this machine or its container, and what the limits of this process leave of it."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files with a container's limit, by version of the kernel's control groups."""


def measure_memory() -> int:
    """Measure the memory of this machine, or of the container, in bytes."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # there is none, or it says "max"
            total = min(total, int(Path(file).read_text()))
    return total


def get_memory_bytes() -> int:
    """Get the bytes of memory that this process may use: the machine's, the container's or the process's limit."""
    soft = (resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_DATA, resource.RLIMIT_AS))
    return min([measure_memory(), *(limit for limit in soft if limit != resource.RLIM_INFINITY)])
