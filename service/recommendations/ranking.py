"""Ranking of candidates: which is expected to be the best, which cannot be told from it, and whether any suffices."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.jobs.intervals import Z, compute_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.tables import RecommendationCandidate


@dataclass(frozen=True)
class RankedCandidate:
    """A candidate with its rank."""

    candidate: RecommendationCandidate
    rank: int | None = None
    """1 is the best; None where it is not measured."""
    low: float | None = None
    high: float | None = None
    """Interval that holds the true accuracy with 95% confidence."""
    is_tied: bool | None = None
    """True if the images cannot tell it from the best."""
    suffices: bool | None = None


@dataclass(frozen=True)
class Ranking:
    """Candidates from the best on, those without figures last."""

    candidates: list[RankedCandidate]
    recommended: str | None
    """The best, if it suffices."""
    advice: str | None
    """What to do; None before anything is measured."""


def rank(candidates: Sequence[RecommendationCandidate], min_accuracy: float | None) -> Ranking:
    """Rank the candidates that are measured by their metric; of two that have the same, by their loss.

    One suffices if its whole interval lies above what the constant predictor has, and its metric is not below
    `min_accuracy`.
    """
    measured = [candidate for candidate in candidates if candidate.figures]
    measured.sort(key=_order)
    others = [RankedCandidate(candidate) for candidate in candidates if not candidate.figures]
    if not measured:
        return Ranking(others, None, None)
    ranking = [_rank_one(number, each, measured[0], min_accuracy) for number, each in enumerate(measured, 1)]
    best = ranking[0]
    recommended = best.candidate.backbone if best.suffices else None
    return Ranking([*ranking, *others], recommended, _advise(ranking, min_accuracy))


def _order(candidate: RecommendationCandidate) -> tuple[float, float]:
    figures = candidate.figures or {}
    return -figures["value"], figures["loss"]


def _rank_one(
    rank: int, candidate: RecommendationCandidate, best: RecommendationCandidate, min_accuracy: float | None
) -> RankedCandidate:
    figures, of_best = candidate.figures or {}, best.figures or {}
    value, replicates = figures["value"], figures["replicates"]
    if figures["metric"] == "accuracy":
        interval = compute_interval(value, figures["sample"])
        low, high = interval.low, interval.high
    else:
        cuts = statistics.quantiles(replicates, n=40, method="inclusive")
        low, high = min(value, cuts[0]), max(value, cuts[-1])
    # The same images are drawn for all candidates, so what is hard about them cancels out.
    differences = [one - other for one, other in zip(of_best["replicates"], replicates, strict=True)]
    is_tied = of_best["value"] - value <= Z * statistics.pstdev(differences)
    suffices = low > figures["constant"] and (min_accuracy is None or value >= min_accuracy)
    return RankedCandidate(candidate, rank, low, high, is_tied, suffices)


def _advise(ranking: Sequence[RankedCandidate], min_accuracy: float | None) -> str:
    best = ranking[0]
    figures = best.candidate.figures or {}
    metric = "accuracy" if figures["metric"] == "accuracy" else "mean average precision"
    expected = f"{metric} {figures['value']:.1%} ({best.low:.1%} to {best.high:.1%})"
    if best.suffices:
        tied = sum(bool(ranked.is_tied) for ranked in ranking[1:])
        same = (
            f" {tied} other{'s' if tied > 1 else ''} cannot be told from it on these images: choose among them by what "
            "they cost."
            if tied
            else ""
        )
        return f"{best.candidate.backbone} is expected to have {metric} {figures['value']:.1%}.{same}"
    if min_accuracy is not None and figures["value"] < min_accuracy:
        lack = f"No candidate is expected to have {metric} {min_accuracy:.1%}: the best, {best.candidate.backbone}, has"
        lack += f" {expected}."
    else:
        lack = (
            f"No candidate is surely better than to say how often each class occurs, which has {metric} "
            f"{figures['constant']:.1%}: the best, {best.candidate.backbone}, has {expected}."
        )
    return (
        f"{lack} Name other candidates, add images ({figures['sample']:,} were looked at), or train more than a head: "
        'the recipe {"quality": "balanced"} trains the whole network too.'
    )
