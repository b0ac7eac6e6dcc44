"""Idempotency: a POST that is sent twice with one Idempotency-Key makes one thing."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from service.database import one_at_a_time
from service.errors import Conflict, Unprocessable
from service.tables import Dataset, IdempotencyKey, Job

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


Row = TypeVar("Row", Dataset, Job)


class IdempotencyKeyReused(Unprocessable):
    """The key came before with another request."""

    code = "idempotency_key_reused"


class IdempotencyKeySpent(Conflict):
    """What the key has made is deleted."""

    code = "idempotency_key_spent"


def earlier(session: Session, key: str, request: str, table: type[Row]) -> Row | None:
    """What this key has made before, of a request with this digest; raises IdempotencyKeyReused, IdempotencyKeySpent.

    Of two requests with one key at once, the second waits here until the first is committed.
    """
    one_at_a_time(session, f"idempotency key {key}")
    found = session.get(IdempotencyKey, key)
    if found is None:
        return None
    if found.request != request:
        raise IdempotencyKeyReused("This Idempotency-Key came before with another request. Send a new key.")
    made = session.get(table, found.resource)
    if made is None:
        raise IdempotencyKeySpent(f"This key has made {found.resource}, which is deleted. Send a new key.")
    return made


def remember(session: Session, key: str, request: str, resource: str) -> None:
    """Note what the key has made, in the transaction that asked for what is `earlier`."""
    session.add(IdempotencyKey(key=key, request=request, resource=resource))
