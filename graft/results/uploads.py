"""Objects of the group uploads."""

# Written by tools/client_results.py from the OpenAPI description: `make docs` writes it again.
from __future__ import annotations

from datetime import datetime

from graft.record import Record


class Upload(Record):
    """A file that is sent in pieces; complete when `offset` is `bytes`."""

    id: str
    bytes: int | None
    """Size of the whole file; null until the sender tells it."""
    offset: int
    """Bytes that have come, and are in the storage."""
    metadata: dict[str, str]
    """What its sender says of it, such as its filename."""
    used_by: str | None
    """The dataset or backbone that was made of it."""
    created_by: str | None
    """Id of the API key whose request made it; null where none was asked for."""
    created_at: datetime
    expires_at: datetime
    """It is deleted then, unless it is added to."""
