"""Create recommendations: check a request against its dataset and its candidates, and add the rows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from models.catalog.recipe import Recipe
from service import queued_work
from service.jobs import creation as jobs
from service.recommendations import repository
from service.recommendations.errors import CandidateNamedTwice, NoCandidates, TooManyCandidates
from service.statuses import WorkStatus
from service.tables import Recommendation, RecommendationCandidate, new_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.orm import Session

    from service.recommendations.schemas import RecommendationCreate

MOST_CANDIDATES = 16
"""Most backbones that one recommendation measures."""


def create_recommendation(
    session: Session, request: RecommendationCreate, created_by: str | None = None
) -> Recommendation:
    """Add a queued recommendation and its first event; `created_by` is the id of an API key.

    Raises DatasetUnknown, DatasetNotReady, DatasetUnlabelled, BackboneUnknown, BackboneNotReady, CandidateNamedTwice,
    TooManyCandidates, NoCandidates.
    """
    jobs.check(session, Recipe(), request.dataset, {})
    names = _choose_candidates(session, request.candidates)
    recommendation = Recommendation(
        id=new_id("rec"),
        status=WorkStatus.QUEUED,
        created_by=created_by,
        dataset_id=request.dataset,
        min_accuracy=request.min_accuracy,
        progress={},
        attempt=0,
        crashes=0,
        event_seq=0,
    )
    session.add(recommendation)
    session.flush()
    session.add_all(
        RecommendationCandidate(recommendation_id=recommendation.id, position=position, backbone=name, is_done=False)
        for position, name in enumerate(names)
    )
    queued_work.add_event(session, recommendation, "info", "queued", "Waiting for a worker", {"candidates": names})
    return recommendation


def _choose_candidates(session: Session, named: Sequence[str] | None) -> list[str]:
    """Check the candidates that a request names, or choose those at hand."""
    if named is None:
        at_hand = repository.find_at_hand(session, MOST_CANDIDATES)
        if not at_hand:
            raise NoCandidates(
                "This service has no backbone at hand: none in its local folder, none imported, and none that a job "
                "has used. Name candidates; GET /v1/backbones lists them."
            )
        return at_hand
    if len(named) > MOST_CANDIDATES:
        raise TooManyCandidates(
            f"{len(named)} candidates are more than {MOST_CANDIDATES}. Name fewer, or send several requests: features "
            "that were computed for one are kept for the next."
        )
    twice = [name for name, count in Counter(named).items() if count > 1]
    if twice:
        raise CandidateNamedTwice(f"The request names the candidate {twice[0]} twice. Name each once.")
    by_field = {f"body.candidates.{position}": name for position, name in enumerate(named)}
    jobs.check(session, Recipe(), None, by_field)
    return list(named)
