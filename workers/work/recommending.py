"""Recommendations: attempts at measuring backbones on the images of a dataset."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BaseModel, Field, TypeAdapter

from models.catalog.recipe import Recipe
from models.messages import BackboneFigures
from models.pipeline.spec import BackboneSpec, TrainingSpec
from service import queued_work
from service.recommendations import repository
from service.tables import Dataset, Recommendation
from workers import scratch
from workers.work import backbone_files
from workers.work.queued import QueuedAttempt
from workers.work.training import CHECKPOINT, describe_dataset

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.database import Database
    from service.settings import Settings
    from service.tables import RecommendationCandidate
    from workers.lease import Claim


class RecommendationOrder(BaseModel):
    """Input of the recommending child."""

    folder: Path
    """Folder for temporary files."""
    candidates: dict[int, TrainingSpec]
    """By position, those that are left: the job by the empty recipe that each is measured for."""
    total: int
    """All candidates, those included that earlier attempts have measured."""


class Progressed(BaseModel):
    """Progress; replaces the last report."""

    event: Literal["progressed"] = "progressed"
    percent: float
    candidate: str
    eta_seconds: float | None


class Measured(BaseModel):
    """A candidate is measured."""

    event: Literal["measured"] = "measured"
    position: int
    figures: BackboneFigures
    latency_seconds: float


class Unusable(BaseModel):
    """A candidate cannot be measured, on this machine or anywhere; the message says why."""

    event: Literal["unusable"] = "unusable"
    position: int
    code: str
    message: str


Message = Progressed | Measured | Unusable
_MESSAGE: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="event")])


class RecommendationAttempt(QueuedAttempt[Recommendation]):
    """One attempt at one recommendation: its child measures the candidates that are left, one after the other."""

    module = "workers.entrypoints.recommending"
    retries_own_faults: ClassVar[bool] = False  # a candidate that takes too much memory does so each time

    def __init__(self, database: Database, settings: Settings, claim: Claim[Recommendation]) -> None:
        super().__init__(database, settings, claim)
        self._scratch = scratch.choose_folder(settings.scratch, claim)
        self._folders: dict[int, Path | None] = {}
        """By position, the folders with the files of uploaded backbones, and of checkpoints."""

    def fetch_inputs(self) -> None:
        """Bring the files of uploaded backbones, and of checkpoints, to this machine. Raises OSError."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        with self.database.reading() as session:
            left = {each.position: each.backbone for each in _find_left(session, self.claim.id)}
        self._folders = {
            position: backbone_files.fetch(self.database, self.settings, name, self._scratch / str(position))
            for position, name in left.items()
        }

    def start(self, session: Session, row: Recommendation) -> RecommendationOrder:
        """Start behind the candidates that are measured."""
        left = _find_left(session, row.id)
        total = len(repository.find_candidates(session, [row.id])[row.id])
        done = total - len(left)
        queued_work.start(session, row, f"{done} of {total} backbones" if done else "", {"candidates": done})
        dataset = describe_dataset(session.get_one(Dataset, row.dataset_id))
        return RecommendationOrder(
            folder=self._scratch,
            candidates={
                each.position: TrainingSpec(
                    job=row.id,
                    storage=self.settings.storage,
                    dataset=dataset,
                    backbone=BackboneSpec(name=each.backbone, folder=self._folders[each.position]),
                    local_backbones=self.settings.backbones,
                    recipe=Recipe(),
                    device=self.settings.device,
                    cache=self.settings.cache,
                    cache_bytes=self.settings.cache_bytes,
                    checkpoint=self._scratch / CHECKPOINT,
                )
                for each in left
            },
            total=total,
        )

    def record(self, session: Session, row: Recommendation, lines: list[bytes]) -> bool:
        """Write messages to the candidates and the row; true if none is left, which ends the work.

        It ends with its last candidate: what is left to be finished by another attempt, no worker would claim.
        """
        for line in lines:
            match _MESSAGE.validate_json(line):
                case Progressed() as progressed:
                    row.progress = progressed.model_dump(exclude={"event"})
                case Measured(position=position, figures=figures, latency_seconds=latency):
                    row.crashes = 0  # it has made progress, however this attempt ends
                    candidate = _find_candidate(session, row, position)
                    candidate.is_done = True
                    candidate.figures = {**figures.model_dump(), "latency_seconds": latency}
                    metric = "accuracy" if figures.metric == "accuracy" else "mean average precision"
                    message = f"{candidate.backbone}: expected {metric} {figures.value:.1%}"
                    data = {"backbone": candidate.backbone, "expected": figures.value}
                    queued_work.add_event(session, row, "info", "measured", message, data)
                case Unusable(position=position, code=code, message=message):
                    row.crashes = 0
                    _set_error(session, row, _find_candidate(session, row, position), code, message)
        if _find_left(session, row.id):
            return False
        _finish(session, row)
        return True

    def fail(self, session: Session, row: Recommendation, cause: str, message: str) -> None:
        """Leave out the candidate that kept crashing, and go on with the others."""
        current, *others = _find_left(session, row.id)
        _set_error(session, row, current, cause, message)
        row.crashes = 0
        if not others:
            _finish(session, row)
            return
        data = {"cause": cause, "attempt": row.attempt}
        queued_work.requeue(session, row, "crashed", f"Going on without {current.backbone}", data)

    def clean_up(self, *, is_over: bool) -> None:
        """Remove the attempt's folder."""
        shutil.rmtree(self._scratch, ignore_errors=True)


def _find_left(session: Session, recommendation_id: str) -> list[RecommendationCandidate]:
    """Find the candidates that are not done, in the order in which they are measured."""
    candidates = repository.find_candidates(session, [recommendation_id])[recommendation_id]
    return [each for each in candidates if not each.is_done]


def _find_candidate(session: Session, row: Recommendation, position: int) -> RecommendationCandidate:
    return repository.find_candidates(session, [row.id])[row.id][position]


def _set_error(
    session: Session, row: Recommendation, candidate: RecommendationCandidate, code: str, message: str
) -> None:
    candidate.is_done = True
    candidate.error = {"code": code, "message": message}
    data = {"backbone": candidate.backbone, "code": code}
    queued_work.add_event(session, row, "warning", "unusable", f"{candidate.backbone}: {message}", data)


def _finish(session: Session, row: Recommendation) -> None:
    """End the work: succeeded if any candidate is measured."""
    candidates = repository.find_candidates(session, [row.id])[row.id]
    measured = sum(each.figures is not None for each in candidates)
    row.progress = {}
    if measured:
        queued_work.succeed(session, row, f"{measured} of {len(candidates)} backbones are measured")
    else:
        message = "No candidate can be measured; each of them has its error."
        queued_work.fail(session, row, "no_candidate_usable", message)
