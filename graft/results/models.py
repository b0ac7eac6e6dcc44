"""Objects of the group models."""

# Written by tools/client_results.py from the OpenAPI description: `make docs` writes it again.
from __future__ import annotations

from datetime import datetime
from typing import Any

from graft.record import Record


class Model(Record):
    """A name that points at a checkpoint."""

    id: str
    name: str
    checkpoint: str
    job: str
    """The job whose result the checkpoint is."""
    classes: list[str]
    metrics: dict[str, Any]
    created_at: datetime
    moved_at: datetime
    """When it was made to point at this checkpoint."""
    moved_by: str | None
    """Id of the API key whose request moved it, or made the job that did; null where none was asked for."""


class Move(Record):
    """An entry of a model's history."""

    id: str
    seq: int
    checkpoint: str | None
    """Id of the checkpoint, which may have been deleted since; null: the name was deleted."""
    job: str | None
    """The job that published it; null for a request."""
    created_by: str | None
    """Id of the API key whose request moved it, or made the job that did; null where none was asked for."""
    created_at: datetime
