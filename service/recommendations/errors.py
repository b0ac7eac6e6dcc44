"""Errors of recommendations."""

from __future__ import annotations

from service.errors import Conflict, NotFound, Unprocessable


class RecommendationNotFound(NotFound):
    """No recommendation has this id."""

    code = "recommendation_not_found"


class RecommendationNotFinished(Conflict):
    """The recommendation has not ended: it cannot be deleted."""

    code = "recommendation_not_finished"


class CandidateNamedTwice(Unprocessable):
    """The request names a candidate twice."""

    code = "candidate_named_twice"
    loc = "body.candidates"


class TooManyCandidates(Unprocessable):
    """The request names more candidates than one recommendation measures."""

    code = "too_many_candidates"
    loc = "body.candidates"


class NoCandidates(Unprocessable):
    """The request names no candidates, and this service has none at hand."""

    code = "no_candidates"
    loc = "body.candidates"
