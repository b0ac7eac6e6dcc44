"""Memory limit of child processes: work that needs too much ends with an error of its own, and harms no other.

On Linux the kernel enforces RLIMIT_DATA: an allocation that would exceed it fails inside the child, which can then use
smaller batches, or end as out of memory. It counts private writable memory, but not mapped files, such as cached
features, nor reserved address space, of which CUDA takes more than any machine has memory; RLIMIT_AS counts both. What
CUDA's driver does at the limit is not documented, so a child that may use a GPU gets none: its supervisor reads its
resident memory, and kills it.
"""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from models.runtime.memory import measure_memory

if TYPE_CHECKING:
    from service.settings import Settings

LEAST_BYTES = 2 << 30
"""Libraries alone take half a GiB: on a small machine the limit is more than its share."""


def choose_limit(settings: Settings) -> int:
    """Choose the most bytes of a child: GRAFT_MEMORY_BYTES, or half of the machine's, shared by its workers."""
    if settings.memory_bytes is not None:
        return settings.memory_bytes
    total = measure_memory()
    return max(total // 2 // settings.workers, min(total, LEAST_BYTES))


def limit_own_memory(most: int) -> None:
    """Have allocations of this process fail beyond `most` bytes. Linux only."""
    if sys.platform.startswith("linux"):
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        least = min(limit for limit in (most, soft, hard) if limit != resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_DATA, (least, hard))


def lift_own_limit() -> None:
    """Lift the limit of this process, so that it can report that it has exceeded it."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def read_resident_bytes(pid: int) -> int:
    """Read how much private memory a process holds, in bytes; 0 if that cannot be read."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) << 10 if found else 0
