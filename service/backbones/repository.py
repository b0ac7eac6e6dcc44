"""Every query about backbones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select

from service.errors import GraftError, NotFound
from service.tables import Backbone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session


class BackboneNotFound(NotFound):
    """No backbone has this name."""


class BackbonesNotListed(GraftError):
    """No worker of this service has listed yet what it can load."""

    status = 503


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
    """The names of all backbones; raises BackbonesNotListed when none are known yet."""
    found = session.scalars(select(Backbone.id).order_by(Backbone.id)).all()
    if not found:
        raise BackbonesNotListed("No worker has started yet on this service. Start one, then ask again.")
    return found


def listed(session: Session) -> bool:
    """Whether a worker has listed what it can load."""
    return session.scalar(select(Backbone.id).limit(1)) is not None


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
    """Make the table say exactly `listings`; what was inspected of those that stay is kept."""
    known = {row.id: row for row in session.scalars(select(Backbone))}
    wanted = {listing["id"]: listing for listing in listings}
    gone = [name for name in known if name not in wanted]
    for start in range(0, len(gone), 500):
        session.execute(delete(Backbone).where(Backbone.id.in_(gone[start : start + 500])))
    new = [{**listing, "status": "listed"} for name, listing in wanted.items() if name not in known]
    if new:
        session.execute(insert(Backbone), new)
    for name in wanted.keys() & known.keys():
        for column, value in wanted[name].items():
            setattr(known[name], column, value)
