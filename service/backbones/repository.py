"""Every query about backbones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select

from service.backbones.errors import BackboneNotFound, BackbonesNotListed
from service.database import lock_name
from service.statuses import BackboneStatus
from service.tables import Backbone, now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session


HUB_REPOSITORY = re.compile(r"hf/[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
RETRY_SECONDS = 60.0
"""Time after a failed inspection at which a request retries it: the Hub may be back."""


def get(session: Session, name: str) -> Backbone | None:
    """Get a backbone; None for one of the Hub that was never requested. Raises BackboneNotFound."""
    backbone = session.get(Backbone, name)
    if backbone is None and not HUB_REPOSITORY.fullmatch(name):
        raise BackboneNotFound(f"There is no backbone {name}. GET /v1/backbones?q= finds those that exist.")
    return backbone


def request_inspection(session: Session, name: str) -> Backbone:
    """Request a backbone's inspection, unless it is inspected or failed just now. Raises BackboneNotFound."""
    lock_name(session, f"backbone {name}")
    backbone = get(session, name)
    if backbone is None:
        backbone = Backbone(id=name, source="hf", status=BackboneStatus.LISTED, attempt=0, crashes=0)
        session.add(backbone)
    if backbone.status == BackboneStatus.LISTED or _can_be_retried(session, backbone):
        backbone.status, backbone.crashes, backbone.error = BackboneStatus.INSPECTING, 0, None
    return backbone


def _can_be_retried(session: Session, backbone: Backbone) -> bool:
    failed_at = backbone.finished_at or 0.0
    return backbone.status == BackboneStatus.FAILED and session.scalars(select(now())).one() - failed_at > RETRY_SECONDS


def can_be_named(session: Session, name: str) -> bool:
    """Check whether a job can name the backbone; only its worker finds out whether the Hub has it."""
    known = session.scalar(select(Backbone.id).where(Backbone.id == name)) is not None
    return known or HUB_REPOSITORY.fullmatch(name) is not None


def list_names(session: Session) -> Sequence[str]:
    """List the names of all backbones."""
    return session.scalars(select(Backbone.id).order_by(Backbone.id)).all()


def require_listed(session: Session) -> None:
    """Check that a worker has listed the backbones; raises BackbonesNotListed."""
    if session.scalar(select(Backbone.id).where(Backbone.source != "hf").limit(1)) is None:
        raise BackbonesNotListed("No worker of this service has started yet. Start one, then try again.")


def find_page(
    session: Session,
    *,
    limit: int,
    after: str | None = None,
    contains: str | None = None,
    source: str | None = None,
    max_parameters: int | None = None,
) -> list[Backbone]:
    """Find `limit` + 1 backbones after `after`, by name, that match every filter.

    Backbones of the Hub are included once a worker has inspected them.
    """
    query = select(Backbone).where(Backbone.architecture.is_not(None)).order_by(Backbone.id).limit(limit + 1)
    if after is not None:
        query = query.where(Backbone.id > after)
    if contains is not None:
        query = query.where(func.lower(Backbone.id).contains(contains.lower(), autoescape=True))
    if source is not None:
        query = query.where(Backbone.source == source)
    if max_parameters is not None:
        query = query.where(Backbone.parameters <= max_parameters)
    return list(session.scalars(query))


def replace_listings(session: Session, listings: Sequence[dict[str, Any]]) -> None:
    """Replace all listings, except of the Hub's backbones; backbones that have not changed keep their inspection."""
    lock_name(session, "listing of backbones")
    known = {row.id: row for row in session.scalars(select(Backbone).where(Backbone.source != "hf"))}
    listed = {listing["id"]: listing for listing in listings}
    removed = [name for name in known if name not in listed]
    for start in range(0, len(removed), 500):
        session.execute(delete(Backbone).where(Backbone.id.in_(removed[start : start + 500])))
    new = [{**listing, "status": BackboneStatus.LISTED} for name, listing in listed.items() if name not in known]
    if new:
        session.execute(insert(Backbone), new)
    for name in listed.keys() & known.keys():
        _update(known[name], listed[name])


def _update(row: Backbone, listing: dict[str, Any]) -> None:
    same = all(getattr(row, column) == value for column, value in listing.items())
    for column, value in listing.items():
        setattr(row, column, value)
    if row.status in {BackboneStatus.INSPECTED, BackboneStatus.FAILED} and not same:
        row.status, row.crashes, row.inspection, row.error = BackboneStatus.LISTED, 0, None, None
