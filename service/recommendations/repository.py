"""Every query about recommendations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from service.backbones.tables import CHECKPOINT, OWN_SOURCES
from service.recommendations.errors import RecommendationNotFound
from service.statuses import BackboneStatus
from service.tables import Backbone, Job, Recommendation, RecommendationCandidate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session


def get(session: Session, recommendation_id: str, *, lock: bool = False) -> Recommendation:
    """Get a recommendation, with `lock` locked until the transaction ends; raises RecommendationNotFound."""
    recommendation = session.get(Recommendation, recommendation_id, with_for_update=lock or None)
    if recommendation is None:
        raise RecommendationNotFound(f"There is no recommendation {recommendation_id:.100}.")
    return recommendation


def find_page(
    session: Session, *, limit: int, after: str | None = None, status: str | None = None, dataset: str | None = None
) -> list[Recommendation]:
    """Find the newest `limit` + 1 recommendations before `after` that match every filter."""
    query = select(Recommendation).order_by(Recommendation.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(Recommendation.id < after)
    if status is not None:
        query = query.where(Recommendation.status == status)
    if dataset is not None:
        query = query.where(Recommendation.dataset_id == dataset)
    return list(session.scalars(query))


def find_candidates(session: Session, recommendation_ids: Sequence[str]) -> dict[str, list[RecommendationCandidate]]:
    """Find the candidates of each recommendation, in the order in which they are measured."""
    candidate = RecommendationCandidate
    query = select(candidate).where(candidate.recommendation_id.in_(recommendation_ids)).order_by(candidate.position)
    found: dict[str, list[RecommendationCandidate]] = {name: [] for name in recommendation_ids}
    for each in session.scalars(query):
        found[each.recommendation_id].append(each)
    return found


def find_unfinished_of_backbones(session: Session, backbones: Sequence[str]) -> list[RecommendationCandidate]:
    """Find the candidates that are left to measure, of recommendations that have not ended, among these backbones."""
    candidate = RecommendationCandidate
    query = select(candidate).join(Recommendation, Recommendation.id == candidate.recommendation_id)
    query = query.where(candidate.backbone.in_(backbones), candidate.is_done.is_(False))
    return list(session.scalars(query.where(Recommendation.finished_at.is_(None))))


def find_at_hand(session: Session, limit: int) -> list[str]:
    """Find the backbones that need no download, at most `limit`.

    Those of the local folder come first, then imported and pretrained ones, the newest first, and then those that jobs
    have used, the most recent first.
    """
    local = select(Backbone.id).where(Backbone.source == "local", Backbone.architecture.is_not(None))
    imported = select(Backbone.id).where(Backbone.source.in_(OWN_SOURCES), Backbone.status == BackboneStatus.READY)
    used = (
        select(Job.backbone)
        .join(Backbone, Backbone.id == Job.backbone)
        .where(Job.started_at.is_not(None), ~Job.backbone.startswith(CHECKPOINT, autoescape=True))
        .group_by(Job.backbone)
        .order_by(func.max(Job.id).desc())
    )
    queries = (local.order_by(Backbone.id), imported.order_by(Backbone.id.desc()), used)
    names = [name for query in queries for name in session.scalars(query.limit(limit))]
    return list(dict.fromkeys(names))[:limit]
