"""Idempotency: a POST sent twice with one Idempotency-Key creates one resource."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from service.database import lock_name
from service.errors import Conflict, Unprocessable
from service.tables import Backbone, BatchPrediction, Dataset, IdempotencyKey, Job, Recommendation

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session


Resource = TypeVar("Resource", Backbone, BatchPrediction, Dataset, Job, Recommendation)


class IdempotencyKeyReused(Unprocessable):
    """The key was used for a different request."""

    code = "idempotency_key_reused"


class IdempotencyKeySpent(Conflict):
    """The resource that the key created is deleted."""

    code = "idempotency_key_spent"


def create_once(
    session: Session, key: str | None, request: str, table: type[Resource], create: Callable[[], Resource]
) -> Resource:
    """Create a resource, or find the one that an earlier request with this key created; without a key, create it.

    Raises as `find_earlier`.
    """
    row = find_earlier(session, key, request, table)
    if row is None:
        row = create()
        if key:
            remember(session, key, request, row.id)
    session.flush()
    session.refresh(row)
    return row


def find_earlier(session: Session, key: str | None, request: str, table: type[Resource]) -> Resource | None:
    """Find the resource that an earlier request with this key and digest created; None without a key.

    Of two requests with one key at once, the second waits here until the first is committed.
    Raises IdempotencyKeyReused, IdempotencyKeySpent.
    """
    if not key:
        return None
    lock_name(session, f"idempotency key {key}")
    found = session.get(IdempotencyKey, key)
    if found is None:
        return None
    if found.request != request:
        raise IdempotencyKeyReused("This Idempotency-Key was used for a different request. Send a new key.")
    created = session.get(table, found.resource)
    if created is None:
        raise IdempotencyKeySpent(f"This Idempotency-Key created {found.resource}, which is deleted. Send a new key.")
    return created


def remember(session: Session, key: str, request: str, resource: str) -> None:
    """Record the resource that the key created, in the transaction that called `find_earlier`."""
    session.add(IdempotencyKey(key=key, request=request, resource=resource))
