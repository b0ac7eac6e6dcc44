"""Idempotency: a POST that is sent twice with one Idempotency-Key makes one thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import Unprocessable
from service.tables import IdempotencyKey

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class IdempotencyKeyReused(Unprocessable):
    """The key came before with another request."""


def earlier(session: Session, key: str, request: str) -> str | None:
    """The id of what this key has made before, of a request with this digest; raises IdempotencyKeyReused."""
    found = session.get(IdempotencyKey, key)
    if found is None:
        return None
    if found.request != request:
        raise IdempotencyKeyReused("This Idempotency-Key came before with another request. Send a new key.")
    return found.resource


def remember(session: Session, key: str, request: str, resource: str) -> None:
    """Note what the key has made. Of two such requests at once, the second fails on the row and may be sent again."""
    session.add(IdempotencyKey(key=key, request=request, resource=resource))
