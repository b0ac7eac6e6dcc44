"""Objects of several groups of operations."""

# Written by tools/client_results.py from the OpenAPI description: `make docs` writes it again.
from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from graft.record import Record


class ClassProbability(Record):
    """A class and its probability."""

    name: str
    probability: float


class Event(Record):
    """An entry of a log; `seq` has no gaps."""

    id: str
    seq: int
    time: datetime
    level: Literal["debug", "info", "warning", "error"]
    kind: str
    message: str
    data: dict[str, Any]


WorkStatus = Literal["queued", "running", "succeeded", "failed", "cancelling", "cancelled"]
"""States of queued work: of a batch prediction or a recommendation."""
