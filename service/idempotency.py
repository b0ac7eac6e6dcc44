"""Idempotency: a POST that is sent twice with one Idempotency-Key makes one thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from service.errors import Unprocessable
from service.tables import IdempotencyKey

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class IdempotencyKeyReused(Unprocessable):
    """The key came before with another request."""


def earlier(session: Session, key: str, request: str) -> str | None:
    """The id of what this key has made before, of a request with this digest; raises IdempotencyKeyReused.

    Of two requests with one key at once, the second waits here until the first is committed.
    """
    if session.get_bind().dialect.name == "postgresql":  # SQLite has one writer at a time anyway
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))
    found = session.get(IdempotencyKey, key)
    if found is None:
        return None
    if found.request != request:
        raise IdempotencyKeyReused("This Idempotency-Key came before with another request. Send a new key.")
    return found.resource


def remember(session: Session, key: str, request: str, resource: str) -> None:
    """Note what the key has made, in the transaction that asked for what is `earlier`."""
    session.add(IdempotencyKey(key=key, request=request, resource=resource))
