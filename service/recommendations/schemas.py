"""Recommendations as JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from service import tables
from service.pagination import Identified
from service.recommendations.ranking import RankedCandidate, rank
from service.statuses import WorkStatus
from service.types import DescribedModel, Text, Timestamp


class RecommendationCreate(DescribedModel):
    """A request to rank backbones on the images of a dataset."""

    model_config = ConfigDict(extra="forbid")

    dataset: Text
    """Its id."""
    candidates: Annotated[list[Text], Field(min_length=1)] | None = None
    """Names of backbones; by default those at hand: local ones, imported ones, and those that jobs have used."""
    min_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Accuracy, or mean average precision, that a backbone must be expected to have to suffice."""


class RecommendationProgress(DescribedModel):
    """Progress of a recommendation; null where it is not known yet."""

    percent: float = 0.0
    candidate: str | None = None
    """The backbone that is being measured."""
    eta_seconds: float | None = None

    @classmethod
    def from_row(cls, row: tables.Recommendation) -> RecommendationProgress:
        """Build the JSON of a row's progress: what it measured last is not being measured once no worker has it."""
        progress = cls(**row.progress)
        is_running = row.status in {WorkStatus.RUNNING, WorkStatus.CANCELLING}
        return progress if is_running or progress.candidate is None else cls(percent=progress.percent)


class RankedBackbone(DescribedModel):
    """A candidate, and what was measured; null until it is, or where it cannot be."""

    backbone: str
    rank: int | None
    """1 is the best."""
    tied: bool | None
    """Whether the images cannot tell it from the best."""
    suffices: bool | None
    """Whether it is surely better than the constant predictor, and not below `min_accuracy`."""
    expected: float | None
    """Accuracy, or mean average precision, of a linear classifier on images that were left out in their turn."""
    low: float | None
    """Lower end of the interval that holds the true one with 95% confidence."""
    high: float | None
    """Upper end of the interval."""
    balanced_accuracy: float | None
    """Mean recall of the classes; null too where images have several labels."""
    seconds: float | None
    """Expected time of a whole job by the empty recipe on this machine, without a download of the weights."""
    seconds_per_image: float | None
    """Measured time to compute the features of an image."""
    latency_seconds: float | None
    """Measured time from the file of one image to its features, by the engine that answers predictions."""
    checkpoint_bytes: int | None
    """Size of the checkpoint of such a job."""
    features_bytes: int | None
    """Size of the features of all images in the cache, without augmented views."""
    computed: int | None
    """Images whose features were computed; those of the rest of the sample were in the cache."""
    engine: str | None
    """What computed the features."""
    error: dict[str, Any] | None
    """Why it cannot be measured."""

    @classmethod
    def from_ranked(cls, ranked: RankedCandidate) -> RankedBackbone:
        """Build the JSON of a ranked candidate."""
        figures = ranked.candidate.figures or {}
        return cls(
            backbone=ranked.candidate.backbone,
            rank=ranked.rank,
            tied=ranked.is_tied,
            suffices=ranked.suffices,
            expected=figures.get("value"),
            low=ranked.low,
            high=ranked.high,
            error=ranked.candidate.error,
            **{name: figures.get(name) for name in COPIED},
        )


COPIED = (
    "balanced_accuracy",
    "seconds",
    "seconds_per_image",
    "latency_seconds",
    "checkpoint_bytes",
    "features_bytes",
    "computed",
    "engine",
)
"""Figures that are given as they were measured."""


class Recommendation(Identified):
    """Backbones ranked on the images of a dataset, best first; while it runs, as far as they are measured."""

    created_by: str | None
    """Id of the API key whose request made it; null where none was asked for."""
    status: WorkStatus
    dataset: str
    min_accuracy: float | None
    metric: Literal["accuracy", "map"] | None
    """What is expected: accuracy, or mean average precision where images have several labels."""
    constant: float | None
    """The same of the predictor that says how often each class occurs."""
    sample: int | None
    """Training images that were looked at."""
    recommended: str | None
    """The best backbone; null where none suffices."""
    advice: str | None
    """What that means, and what to do where none suffices."""
    candidates: list[RankedBackbone]
    """From the best on; those without figures last."""
    progress: RecommendationProgress
    attempt: int
    error: dict[str, Any] | None
    created_at: Timestamp
    started_at: Timestamp | None
    finished_at: Timestamp | None

    @classmethod
    def from_row(cls, row: tables.Recommendation, candidates: list[tables.RecommendationCandidate]) -> Recommendation:
        """Build the JSON of a row and its candidates."""
        ranking = rank(candidates, row.min_accuracy)
        figures = ranking.candidates[0].candidate.figures or {}
        return cls(
            id=row.id,
            created_by=row.created_by,
            status=row.status,
            dataset=row.dataset_id,
            min_accuracy=row.min_accuracy,
            metric=figures.get("metric"),
            constant=figures.get("constant"),
            sample=figures.get("sample"),
            recommended=ranking.recommended,
            advice=ranking.advice,
            candidates=[RankedBackbone.from_ranked(ranked) for ranked in ranking.candidates],
            progress=RecommendationProgress.from_row(row),
            attempt=row.attempt,
            error=row.error,
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )
