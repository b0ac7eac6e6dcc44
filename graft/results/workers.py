"""Objects of the group workers."""

# Written by tools/client_results.py from the OpenAPI description: `make docs` writes it again.
from __future__ import annotations

from datetime import datetime

from graft.record import Record


class Worker(Record):
    """A worker process, which claims jobs, validations and imports."""

    id: str
    host: str
    """The machine on which it runs."""
    is_alive: bool
    """Whether it has reported in time."""
    alive_until: datetime
    """It counts as dead from then on, unless it reports again."""
    backbones: int
    """Number of backbones that it lists."""
    job: str | None
    """The job that it runs; null where it runs none."""
