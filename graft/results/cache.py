"""Objects of the group cache."""

# Written by tools/client_results.py from the OpenAPI description: `make docs` writes it again.
from __future__ import annotations

from datetime import datetime

from graft.record import Record


class MachineCache(Record):
    """The feature cache of one machine, as its workers have reported it."""

    bytes: int
    budget_bytes: int
    hits: int
    """Features that jobs have read instead of computing them."""
    misses: int
    """Features that jobs have computed."""
    saved_seconds: float
    """Seconds that computing the features that jobs have read had once taken."""
    host: str
    folder: str
    emptying: bool
    reported_at: datetime


class Cache(Record):
    """Sum of all feature caches, and each of them."""

    bytes: int
    budget_bytes: int
    hits: int
    """Features that jobs have read instead of computing them."""
    misses: int
    """Features that jobs have computed."""
    saved_seconds: float
    """Seconds that computing the features that jobs have read had once taken."""
    emptying: bool
    caches: list[MachineCache]
