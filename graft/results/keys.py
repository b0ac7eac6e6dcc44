"""Objects of the group keys."""

# Written by tools/client_results.py from the OpenAPI description: `make docs` writes it again.
from __future__ import annotations

from datetime import datetime
from typing import Literal

from graft.record import Record

Scope = Literal["read", "predict", "write", "admin"]
"""Permissions of an API key."""


class Key(Record):
    """An API key, without its secret."""

    id: str
    name: str
    prefix: str
    """The first characters of the secret."""
    scopes: list[Scope]
    created_by: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    """To the minute."""


class NewKey(Record):
    """A new API key with its secret, which is shown this once."""

    id: str
    name: str
    prefix: str
    """The first characters of the secret."""
    scopes: list[Scope]
    created_by: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    """To the minute."""
    secret: str
