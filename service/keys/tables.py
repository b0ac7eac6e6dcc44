"""Table of API keys; `service.tables` has all tables."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from service.table_base import Table, now


class ApiKey(Table):
    """An API key. Its row stays when it is revoked: rows of other tables name the key that made them."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str]
    prefix: Mapped[str] = mapped_column(String(16), unique=True)
    """The first characters of the secret, by which it is found."""
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the secret, in hex. The secret has 256 random bits, so no slow hash is needed."""
    scopes: Mapped[list[Any]]
    created_by: Mapped[str | None] = mapped_column(String(40))
    """Id of the API key that made this one; null if that was done on the machine itself."""
    created_at: Mapped[float] = mapped_column(server_default=now())
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]
    last_used_at: Mapped[float | None]
    """The last request with it, to the minute."""
