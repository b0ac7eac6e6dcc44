"""Rows of jobs for tests, and their claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from service.jobs import repository
from service.statuses import JobStatus, WorkStatus
from service.tables import BatchPrediction, Dataset, Event, Job, Recommendation
from workers.lease import Claim, claim, fence
from workers.work.training import JobAttempt

if TYPE_CHECKING:
    from models.pipeline.spec import TrainingSpec
    from service.database import Database
    from service.settings import Settings


def build_job(job_id: str, status: JobStatus, attempt: int = 0, backbone: str = "hf/some/net") -> Job:
    """Build a job's row on the dataset `ds_1`; any worker can load its backbone, which no test does."""
    return Job(
        id=job_id,
        status=status,
        attempt=attempt,
        crashes=0,
        dataset_id="ds_1",
        backbone=backbone,
        recipe={},
        details={},
        progress={},
        seconds={},
        event_seq=0,
    )


def build_prediction(prediction_id: str, status: WorkStatus, **columns: Any) -> BatchPrediction:
    """Build the row of a batch prediction."""
    facts = {"dataset_id": "ds_1", "top_k": 1, "coverage": 0.9, "images": 1, "progress": {}, "event_seq": 0, **columns}
    return BatchPrediction(id=prediction_id, status=status, attempt=1, crashes=0, **facts)


def build_recommendation(recommendation_id: str, status: WorkStatus, **columns: Any) -> Recommendation:
    """Build the row of a recommendation."""
    facts = {"dataset_id": "ds_1", "progress": {}, "event_seq": 0, **columns}
    return Recommendation(id=recommendation_id, status=status, attempt=1, crashes=0, **facts)


def build_dataset() -> Dataset:
    """Build the row of the dataset `ds_1`, which is ready."""
    return Dataset(id="ds_1", name="", status="ready", attempt=0, crashes=0, classes=[], images=0)


def add_jobs(database: Database, count: int, backbone: str = "hf/some/net") -> None:
    """Add queued jobs `job_000`, `job_001`… on one dataset."""
    with database.writing() as session:
        session.add(build_dataset())
        session.flush()
        session.add_all(build_job(f"job_{number:03}", JobStatus.QUEUED, backbone=backbone) for number in range(count))


def try_claim(database: Database, worker: str = "w", seconds: float = 60.0) -> Claim[Job] | None:
    """Claim the next job, if there is one."""
    with database.writing() as session:
        return claim(session, Job, "queued", "running", worker, seconds)


def claim_job(database: Database, worker: str = "w", seconds: float = 60.0) -> Claim[Job]:
    """Claim the next job, which must be there."""
    found = try_claim(database, worker, seconds)
    assert found is not None
    return found


def read_job(database: Database, job_id: str = "job_000") -> Job:
    """Read a job's row as it is now."""
    with database.reading() as session:
        return session.get_one(Job, job_id)


def event_kinds(database: Database) -> list[str]:
    """List the kinds of all events, in order."""
    with database.reading() as session:
        return list(session.scalars(select(Event.kind).order_by(Event.seq)))


def add_events(database: Database, job: str, count: int) -> None:
    """Add `count` events to a job."""
    with database.writing() as session:
        row = repository.get(session, job, lock=True)
        for number in range(count):
            repository.add_event(session, row, "info", "note", f"event {number}", {})


def set_status(database: Database, job: str, status: JobStatus) -> None:
    """Put a job into a state."""
    with database.writing() as session:
        session.get_one(Job, job).status = status


def make_candidate(number: int) -> dict[str, Any]:
    """Make the fields of a candidate's row."""
    return {
        "number": number,
        "name": f"candidate_{number}",
        "backbone": "hf/some/net",
        "recipe": {},
        "reason": None,
        "is_better": True,
        "validation_accuracy": 0.5,
        "validation_loss": 1.0,
        "validation_images": 40,
        "epochs": 3,
        "seconds": 10.0,
        "checkpoint_bytes": 1000,
        "seconds_per_image": 0.01,
    }


def begun(database: Database, settings: Settings) -> tuple[JobAttempt, TrainingSpec]:
    """Claim and start the next attempt at the only job."""
    with database.writing() as session:
        session.execute(update(Job).values(lease_until=None, worker=None))
        session.execute(update(Dataset).values(pack="pack", index="index", digest="0" * 64))
    attempt = JobAttempt(database, settings, claim_job(database))
    attempt.fetch_inputs()
    with database.writing() as session:
        return attempt, attempt.start(session, fence(session, attempt.claim))
