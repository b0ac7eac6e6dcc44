"""Every query about backbones."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import defer

from service.backbones.errors import BackboneNotFound, BackbonesNotListed
from service.backbones.tables import CHECKPOINT, CHECKPOINT_SOURCE, OWN_SOURCES, UNLISTED_SOURCES
from service.database import lock_name
from service.statuses import BackboneStatus
from service.tables import Backbone, Checkpoint, now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session


HUB_REPOSITORY = re.compile(r"hf/[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(@[A-Za-z0-9][\w./-]{0,57})?", re.ASCII)
"""A repository of the Hub, perhaps at a branch, tag or commit."""
RETRY_SECONDS = 60.0
"""Time after a failed inspection at which a request retries it: the Hub may be back."""


@dataclass(frozen=True)
class Limits:
    """Limits on what a backbone costs and may be used for; None is no limit."""

    max_parameters: int | None = None
    max_multiply_adds: int | None = None
    min_accuracy: float | None = None
    licence: str | None = None

    def list_conditions(self) -> list[ColumnElement[bool]]:
        """List the conditions on rows of backbones; a figure that is not known meets none."""
        conditions: list[ColumnElement[bool]] = []
        if self.max_parameters is not None:
            conditions.append(Backbone.parameters <= self.max_parameters)
        if self.max_multiply_adds is not None:
            conditions.append(Backbone.multiply_adds <= self.max_multiply_adds)
        if self.min_accuracy is not None:
            conditions.append(Backbone.accuracy >= self.min_accuracy)
        if self.licence is not None:
            conditions.append(func.lower(Backbone.licence) == self.licence.lower())
        return conditions


def get(session: Session, name: str, *, lock: bool = False) -> Backbone:
    """Get a backbone, with `lock` locked until the transaction ends; raises BackboneNotFound.

    A checkpoint that was not inspected has no row: one is built, which is not added to the database.
    """
    backbone = session.get(Backbone, name, with_for_update=lock or None)
    if backbone is not None:
        return backbone
    if name.startswith(CHECKPOINT):
        return _build_of_checkpoint(session, name, lock=lock)
    if HUB_REPOSITORY.fullmatch(name):
        raise BackboneNotFound(
            f"Nobody has asked for {name} yet. POST /v1/backbones/{name}/inspect has a worker look for it on the Hub; "
            "a job can name it without that."
        )
    raise BackboneNotFound(f"There is no backbone {name}. GET /v1/backbones?q= finds those that exist.")


def _build_of_checkpoint(session: Session, name: str, *, lock: bool) -> Backbone:
    """Build the row of a checkpoint as a backbone, which is not inspected yet. Raises BackboneNotFound."""
    checkpoint = session.get(Checkpoint, name, with_for_update={"read": True, "key_share": True} if lock else None)
    if checkpoint is None:
        raise BackboneNotFound(
            f"There is no checkpoint {name}: it may have been deleted. GET /v1/jobs/JOB/checkpoints lists a job's."
        )
    return Backbone(
        id=name,
        source=CHECKPOINT_SOURCE,
        status=BackboneStatus.LISTED,
        attempt=0,
        crashes=0,
        event_seq=0,
        created_at=checkpoint.created_at,
    )


def forget_checkpoints(session: Session, checkpoint_ids: Sequence[str]) -> None:
    """Forget the inspections of checkpoints that are deleted."""
    session.execute(delete(Backbone).where(Backbone.id.in_(checkpoint_ids)))


def find_files(session: Session, name: str) -> dict[str, Any]:
    """Find the files of an uploaded backbone: {name: {"key", "bytes", "digest"}}. Raises BackboneNotFound."""
    return get(session, name).files or {}


def request_inspection(session: Session, name: str) -> Backbone:
    """Request a backbone's inspection, unless it is inspected, failed just now, or uploaded. Raises BackboneNotFound.

    The import of an uploaded one inspects it.
    """
    lock_name(session, f"backbone {name}")
    if HUB_REPOSITORY.fullmatch(name) and session.get(Backbone, name) is None:
        backbone = Backbone(id=name, source="hf", status=BackboneStatus.LISTED, attempt=0, crashes=0)
        session.add(backbone)
        session.flush()  # the database sets the time of its creation
    elif name.startswith(CHECKPOINT) and session.get(Backbone, name) is None:
        backbone = _build_of_checkpoint(session, name, lock=True)
        session.add(backbone)
    else:
        backbone = get(session, name)
    if backbone.status == BackboneStatus.LISTED or _can_be_retried(session, backbone):
        backbone.status, backbone.crashes, backbone.error = BackboneStatus.INSPECTING, 0, None
    return backbone


def _can_be_retried(session: Session, backbone: Backbone) -> bool:
    if backbone.source in OWN_SOURCES:
        return False
    failed_at = backbone.finished_at or 0.0
    return backbone.status == BackboneStatus.FAILED and session.scalars(select(now())).one() - failed_at > RETRY_SECONDS


def find_pretrained_on(session: Session, dataset_id: str) -> str | None:
    """Find a backbone that is being pretrained on the images of a dataset."""
    query = select(Backbone.id).where(Backbone.dataset_id == dataset_id)
    return session.scalar(query.where(Backbone.status == BackboneStatus.PRETRAINING).limit(1))


def find_pretrained_from(session: Session, names: Sequence[str]) -> Sequence[Backbone]:
    """Find the backbones that are being pretrained from any of these."""
    query = select(Backbone).where(Backbone.pretrained_from.in_(names))
    return session.scalars(query.where(Backbone.status == BackboneStatus.PRETRAINING)).all()


def can_be_named(session: Session, name: str) -> bool:
    """Check whether a job can name the backbone; only its worker finds out whether the Hub has it."""
    known = session.scalar(select(Backbone.id).where(Backbone.id == name)) is not None
    return known or HUB_REPOSITORY.fullmatch(name) is not None


def list_names(session: Session) -> Sequence[str]:
    """List the names of all backbones."""
    return session.scalars(select(Backbone.id).order_by(Backbone.id)).all()


def find_by_display_name(session: Session, name: str) -> Sequence[str]:
    """Find the ids of uploaded backbones that people call so, the newest first."""
    named = select(Backbone.id).where(Backbone.display_name == name)
    return session.scalars(named.order_by(Backbone.id.desc()).limit(3)).all()


def lock_against_deletion(session: Session, name: str) -> Backbone | None:
    """Share-lock a backbone, so that it cannot be deleted before the commit; None if there is none."""
    return session.get(Backbone, name, with_for_update={"read": True, "key_share": True})


def require_listed(session: Session) -> None:
    """Check that a worker has listed the backbones; raises BackbonesNotListed."""
    if session.scalar(select(Backbone.id).where(Backbone.source.not_in(UNLISTED_SOURCES)).limit(1)) is None:
        raise BackbonesNotListed("No worker of this service has started yet. Start one, then try again.")


def find_page(
    session: Session,
    *,
    limit: int,
    after: str | None = None,
    contains: str | None = None,
    source: str | None = None,
    limits: Limits | None = None,
    status: str | None = None,
) -> list[Backbone]:
    """Find `limit` + 1 backbones after `after`, by id, that match every filter.

    Backbones of the Hub, and checkpoints, are included once a worker has inspected them. Uploaded and pretrained ones
    that are not ready are included where the filters ask for their source, or for a state.
    """
    query = select(Backbone).options(defer(Backbone.import_report), defer(Backbone.inspection))
    query = query.order_by(Backbone.id).limit(limit + 1)
    if status is not None:
        query = query.where(Backbone.status == status)
    elif source not in OWN_SOURCES:
        query = query.where(Backbone.architecture.is_not(None))
    if after is not None:
        query = query.where(Backbone.id > after)
    if contains is not None:
        names = (Backbone.id, Backbone.display_name)
        query = query.where(or_(*(func.lower(name).contains(contains.lower(), autoescape=True) for name in names)))
    if source is not None:
        query = query.where(Backbone.source == source)
    if limits is not None:
        query = query.where(*limits.list_conditions())
    return list(session.scalars(query))
