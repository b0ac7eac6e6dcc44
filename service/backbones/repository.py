"""Every query about backbones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select

from service.database import one_at_a_time
from service.errors import NotFound, Unavailable
from service.tables import Backbone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session


class BackboneNotFound(NotFound):
    """No backbone has this name."""


class BackbonesNotListed(Unavailable):
    """No worker of this service has listed yet what it can load."""


def get(session: Session, name: str) -> Backbone:
    """The backbone; raises BackboneNotFound."""
    backbone = session.get(Backbone, name)
    if backbone is None:
        raise BackboneNotFound(f"There is no backbone {name}. GET /v1/backbones?q= finds those that exist.")
    return backbone


def exists(session: Session, name: str) -> bool:
    """Whether the backbone can be named in a job."""
    return session.scalar(select(Backbone.id).where(Backbone.id == name)) is not None


def names(session: Session) -> Sequence[str]:
    """The names of all backbones."""
    return session.scalars(select(Backbone.id).order_by(Backbone.id)).all()


def require_listed(session: Session) -> None:
    """Raises BackbonesNotListed where no worker has listed yet what it can load."""
    if session.scalar(select(Backbone.id).limit(1)) is None:
        raise BackbonesNotListed("No worker has started yet on this service. Start one, then ask again.")


def page(
    session: Session,
    *,
    limit: int,
    after: str | None = None,
    contains: str | None = None,
    source: str | None = None,
    max_parameters: int | None = None,
) -> list[Backbone]:
    """The `limit` + 1 backbones that follow `after` by name and match all that is given."""
    query = select(Backbone).order_by(Backbone.id).limit(limit + 1)
    if after is not None:
        query = query.where(Backbone.id > after)
    if contains is not None:
        query = query.where(func.lower(Backbone.id).contains(contains.lower(), autoescape=True))
    if source is not None:
        query = query.where(Backbone.source == source)
    if max_parameters is not None:
        query = query.where(Backbone.parameters <= max_parameters)
    return list(session.scalars(query))


def replace(session: Session, listings: Sequence[dict[str, Any]]) -> None:
    """Make the table say exactly `listings`. What was found out about those that stay as they were is kept."""
    one_at_a_time(session, "listing of backbones")
    known = {row.id: row for row in session.scalars(select(Backbone))}
    wanted = {listing["id"]: listing for listing in listings}
    gone = [name for name in known if name not in wanted]
    for start in range(0, len(gone), 500):
        session.execute(delete(Backbone).where(Backbone.id.in_(gone[start : start + 500])))
    new = [{**listing, "status": "listed"} for name, listing in wanted.items() if name not in known]
    if new:
        session.execute(insert(Backbone), new)
    for name in wanted.keys() & known.keys():
        _renew(known[name], wanted[name])


def _renew(row: Backbone, listing: dict[str, Any]) -> None:
    same = all(getattr(row, column) == value for column, value in listing.items())
    for column, value in listing.items():
        setattr(row, column, value)
    if row.status == "failed" or (row.status == "inspected" and not same):
        row.status, row.crashes, row.inspection, row.error = "listed", 0, None, None
