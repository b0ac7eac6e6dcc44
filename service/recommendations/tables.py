"""Tables of recommendations, their candidates and events; `service.tables` has all tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ForeignKey, String, exists
from sqlalchemy.orm import Mapped, mapped_column

from service.backbones.tables import Listing
from service.table_base import LogEntry, QueuedWork, Table

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement


class RecommendationEvent(LogEntry, Table):
    """An entry of the log of a recommendation, numbered without gaps."""

    __tablename__ = "recommendation_events"
    owner = "recommendation_id"

    recommendation_id: Mapped[str] = mapped_column(
        ForeignKey("recommendations.id", ondelete="CASCADE"), primary_key=True
    )


class RecommendationCandidate(Table):
    """A backbone that a recommendation measures, and what was found."""

    __tablename__ = "recommendation_candidates"

    recommendation_id: Mapped[str] = mapped_column(
        ForeignKey("recommendations.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    backbone: Mapped[str] = mapped_column(String(255))
    is_done: Mapped[bool] = mapped_column(default=False)
    """It is measured, or cannot be."""
    figures: Mapped[dict[str, Any] | None]
    """What was measured: `models.messages.BackboneFigures`, and the latency."""
    error: Mapped[dict[str, Any] | None]
    """Why it cannot be measured."""


class Recommendation(QueuedWork):
    """Backbones ranked on the images of a dataset. queued → running → succeeded | failed | cancelled."""

    __tablename__ = "recommendations"
    noun = "Recommendation"
    log = RecommendationEvent

    min_accuracy: Mapped[float | None]
    """Expected accuracy, or mean average precision, that a backbone must have to suffice."""

    @classmethod
    def claimable_by(cls, worker: str) -> ColumnElement[bool]:
        """Build the SQL of whether a worker can load one of the candidates that are left."""
        candidate = RecommendationCandidate
        return exists().where(
            candidate.recommendation_id == cls.id,
            candidate.is_done.is_(False),
            Listing.has(worker, candidate.backbone.expression),
        )
