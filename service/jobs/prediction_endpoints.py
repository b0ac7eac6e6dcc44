"""HTTP of a job's predictions for its images: one by one, and what they tell together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError
from pydantic import BeforeValidator

from service.database import Database
from service.datasets import repository as datasets
from service.datasets.slicing import By
from service.dependencies import DatabaseDep, StorageDep
from service.jobs import confidence, predictions, repository, slices
from service.jobs.predictions import Filters, PredictionList
from service.jobs.schemas import Calibration, ImagePrediction, Slices, Thresholds
from service.pagination import After, Page, PageSize
from service.query_parameters import none_if_empty
from service.storage import Storage

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

MOST_THRESHOLDS = 101

Split = Literal["validation", "test"]
ClassName = Annotated[str | None, BeforeValidator(none_if_empty), Query(description="Name of a class.")]
SlicedBy = Annotated[By | None, BeforeValidator(none_if_empty), Query(description="What images are sliced by.")]
SliceName = Annotated[str | None, Query(alias="slice", description="Name of a slice, with `by`; empty: has none.")]
Above = Annotated[
    float | None, Query(ge=0, le=1, description="Only images whose most probable class is more probable than this.")
]
UpTo = Annotated[float | None, Query(ge=0, le=1, description="Only images whose most probable class is no more so.")]
At = Annotated[
    str | None,
    BeforeValidator(none_if_empty),
    Query(description="Thresholds from 0 to 1, separated by commas; by default a grid, or 0.5 of each of all classes."),
]


def parse_thresholds(at: str | None) -> Sequence[float] | None:
    """Parse thresholds that commas separate; raises RequestValidationError."""
    if at is None:
        return None
    try:
        found = [float(part) for part in at.split(",")]
    except ValueError:
        raise _refuse_thresholds("must be numbers, separated by commas") from None
    if not all(0 <= threshold <= 1 for threshold in found) or len(found) > MOST_THRESHOLDS:
        raise _refuse_thresholds(f"must be at most {MOST_THRESHOLDS} numbers from 0 to 1")
    return found


def _refuse_thresholds(message: str) -> RequestValidationError:
    return RequestValidationError([{"type": "thresholds", "loc": ("query", "at"), "msg": message, "input": None}])


@router.get("/{job_id}/predictions")
def list_predictions(
    job_id: str,
    database: DatabaseDep,
    storage: StorageDep,
    split: Split = "test",
    order: Annotated[
        predictions.Order, Query(description="By falling loss, by rising certainty, or by the names of files.")
    ] = "worst",
    label: ClassName = None,
    predicted: ClassName = None,
    by: SlicedBy = None,
    slice_name: SliceName = None,
    above: Above = None,
    up_to: UpTo = None,
    top_k: Annotated[int, Query(ge=1, le=10, description="The most probable classes that are listed.")] = 5,
    limit: PageSize = 100,
    after: After = None,
) -> Page[ImagePrediction]:
    """List the predictions of a job's checkpoint for its validation or test images, the worst mistakes first."""
    found = open_list(job_id, database, storage)
    filters = Filters(label, predicted, by, slice_name, above, up_to)
    return Page.from_items(found.read_page(limit, after, split, order, top_k, filters), limit)


@router.get("/{job_id}/calibration")
def get_calibration(job_id: str, database: DatabaseDep, storage: StorageDep, split: Split = "test") -> Calibration:
    """Get a reliability diagram: whether a job's probabilities are right as often as they say."""
    return confidence.measure_calibration(open_list(job_id, database, storage), split)


@router.get("/{job_id}/thresholds")
def get_thresholds(
    job_id: str,
    database: DatabaseDep,
    storage: StorageDep,
    split: Split = "test",
    label: ClassName = None,
    at: At = None,
) -> Thresholds:
    """Get what thresholds leave: coverage and accuracy, or where images may have several classes precision and recall.

    `label` chooses one of several classes.
    """
    thresholds = parse_thresholds(at)
    return confidence.measure_thresholds(open_list(job_id, database, storage), split, label, thresholds)


@router.get("/{job_id}/slices")
def get_slices(
    job_id: str,
    database: DatabaseDep,
    storage: StorageDep,
    split: Split = "test",
    by: Annotated[By, Query(description="What images are sliced by.")] = "class",
) -> Slices:
    """Get the accuracy of slices of a job's images, the worst first; of sizes in their order."""
    found = open_list(job_id, database, storage)
    return slices.measure_slices(found.file, found.index, found.classes, split, by)


def open_list(job_id: str, database: Database, storage: Storage) -> PredictionList:
    """Open a job's predictions; raises JobNotFound, PredictionsNotFound."""
    with database.reading() as session:
        job = repository.get(session, job_id)
        dataset = datasets.get(session, job.dataset_id)
        checkpoint = predictions.find(session, job)
    return PredictionList(job, dataset, predictions.read(database, checkpoint), storage)
