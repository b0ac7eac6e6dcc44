"""Every query about backbones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select

from service.backbones.errors import BackboneNotFound, BackbonesNotListed
from service.database import one_at_a_time
from service.tables import Backbone, now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session


HUB_REPOSITORY = re.compile(r"hf/[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
RETRY_SECONDS = 60.0
"""After which an inspection that failed is tried again when somebody asks: the Hub may be back."""


def get(session: Session, name: str) -> Backbone | None:
    """The backbone; none for one of the Hub that nobody has asked for before. Raises BackboneNotFound."""
    backbone = session.get(Backbone, name)
    if backbone is None and not HUB_REPOSITORY.fullmatch(name):
        raise BackboneNotFound(f"There is no backbone {name}. GET /v1/backbones?q= finds those that exist.")
    return backbone


def ask(session: Session, name: str) -> Backbone:
    """The backbone, which a worker shall inspect if none has, or if it failed some time ago.

    Raises BackboneNotFound.
    """
    one_at_a_time(session, f"backbone {name}")
    backbone = get(session, name)
    if backbone is None:
        backbone = Backbone(id=name, source="hf", status="listed", attempt=0, crashes=0)
        session.add(backbone)
    if backbone.status == "listed" or _may_be_tried_again(session, backbone):
        backbone.status, backbone.crashes, backbone.error = "inspecting", 0, None
    return backbone


def _may_be_tried_again(session: Session, backbone: Backbone) -> bool:
    failed_at = backbone.finished_at or 0.0
    return backbone.status == "failed" and session.scalars(select(now())).one() - failed_at > RETRY_SECONDS


def can_be_named(session: Session, name: str) -> bool:
    """Whether a job can name the backbone; whether the Hub has it, its worker finds out."""
    known = session.scalar(select(Backbone.id).where(Backbone.id == name)) is not None
    return known or HUB_REPOSITORY.fullmatch(name) is not None


def names(session: Session) -> Sequence[str]:
    """The names of all backbones."""
    return session.scalars(select(Backbone.id).order_by(Backbone.id)).all()


def require_listed(session: Session) -> None:
    """Raises BackbonesNotListed where no worker has listed yet what it can load."""
    if session.scalar(select(Backbone.id).where(Backbone.source != "hf").limit(1)) is None:
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
    """The `limit` + 1 backbones that follow `after` by name and match all that is given.

    Those of the Hub are among them once a worker has seen them.
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


def replace(session: Session, listings: Sequence[dict[str, Any]]) -> None:
    """Make the table say exactly `listings`, beside what was asked for of the Hub.

    What was found out about those that stay as they were is kept.
    """
    one_at_a_time(session, "listing of backbones")
    known = {row.id: row for row in session.scalars(select(Backbone).where(Backbone.source != "hf"))}
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
    if row.status in {"inspected", "failed"} and not same:
        row.status, row.crashes, row.inspection, row.error = "listed", 0, None, None
