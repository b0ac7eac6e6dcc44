"""Every query about backbones."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sqlalchemy import func, select

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


def get(session: Session, name: str) -> Backbone:
    """Get a backbone; raises BackboneNotFound."""
    backbone = session.get(Backbone, name)
    if backbone is not None:
        return backbone
    if HUB_REPOSITORY.fullmatch(name):
        raise BackboneNotFound(
            f"Nobody has asked for {name} yet. POST /v1/backbones/{name}/inspect has a worker look for it on the Hub; "
            "a job can name it without that."
        )
    raise BackboneNotFound(f"There is no backbone {name}. GET /v1/backbones?q= finds those that exist.")


def request_inspection(session: Session, name: str) -> Backbone:
    """Request a backbone's inspection, unless it is inspected or failed just now. Raises BackboneNotFound."""
    lock_name(session, f"backbone {name}")
    if HUB_REPOSITORY.fullmatch(name) and session.get(Backbone, name) is None:
        backbone = Backbone(id=name, source="hf", status=BackboneStatus.LISTED, attempt=0, crashes=0)
        session.add(backbone)
    else:
        backbone = get(session, name)
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
