"""HTTP of a job's predictions for its images: one by one, and what they tell together."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BeforeValidator

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
GRID = (*(step / 20 for step in range(20)), 0.99)
"""Thresholds that are measured where none are asked for."""


def parse_thresholds(text: str | None) -> str | None:
    """Check thresholds that commas separate; raises ValueError."""
    if text is not None:
        read_thresholds(text)
    return text


def read_thresholds(text: str) -> list[float]:
    """Read thresholds that commas separate; raises ValueError."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError("must be numbers, separated by commas") from None
    if not all(0 <= threshold <= 1 for threshold in found) or len(found) > MOST_THRESHOLDS:
        raise ValueError(f"must be at most {MOST_THRESHOLDS} numbers from 0 to 1")
    return found


Split = Literal["validation", "test"]
ClassName = Annotated[str | None, BeforeValidator(none_if_empty), Query(description="Name of a class.")]
SlicedBy = Annotated[By | None, BeforeValidator(none_if_empty), Query(description="What images are sliced by.")]
SliceName = Annotated[
    str | None, BeforeValidator(none_if_empty), Query(alias="slice", description="Name of a slice, with `by`.")
]
Above = Annotated[
    float | None, Query(ge=0, le=1, description="Only images whose most probable class is more probable than this.")
]
UpTo = Annotated[float | None, Query(ge=0, le=1, description="Only images whose most probable class is no more so.")]
At = Annotated[
    str | None,
    BeforeValidator(none_if_empty),
    AfterValidator(parse_thresholds),
    Query(description="Thresholds from 0 to 1, separated by commas; by default a grid, or 0.5 of each of all classes."),
]


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
    found = open_list(job_id, database, storage)
    with database.reading() as session:
        kept = (repository.get(session, job_id).metrics or {}).get("calibration") or {}
    errors = kept.get(split) or {}
    file = found.file
    bins = (
        confidence.measure_bins(confidence.count_answers(file, found.index, split, len(found.classes)))
        if split in file.splits
        else []
    )
    return Calibration(
        split=split,
        images=len(file.list_places(split)),
        classes_each=file.kept if file.is_multi_label else 1,
        temperature=kept.get("temperature"),
        error_before=errors.get("before", {}).get("calibration_error"),
        error_after=errors.get("after", {}).get("calibration_error"),
        bins=bins,
    )


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
    found = open_list(job_id, database, storage)
    file, number = found.file, None if label is None else found.find_class(label)
    asked = None if at is None else read_thresholds(at)
    answer = Thresholds(split=split, images=len(file.list_places(split)), thresholds=[], classes=[], exact_from=0.0)
    if split not in file.splits:
        return answer
    if not file.is_multi_label:
        counted = confidence.count_answers(file, found.index, split, len(found.classes))
        answer.thresholds = [confidence.measure_threshold(counted, threshold) for threshold in asked or GRID]
        return answer
    names = found.classes
    held_out, measured = (
        confidence.count_classes(file, found.index, each, len(names)) for each in ("validation", split)
    )
    thresholds = asked or ([confidence.HALF] if number is None else GRID)
    answer.exact_from = measured.exact_from
    answer.classes = [
        confidence.measure_class(held_out, measured, place, name, thresholds)
        for place, name in enumerate(names)
        if number in (None, place)
    ]
    return answer


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
