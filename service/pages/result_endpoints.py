"""Parts of a job's view that explain its results: image by image, how far its confidence can be trusted, and slices."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from service.datasets.slicing import By
from service.dependencies import DatabaseDep, StorageDep
from service.jobs import confidence
from service.jobs import prediction_endpoints as predictions
from service.jobs.errors import PredictionsNotFound, ThresholdOfWhichClass
from service.jobs.prediction_endpoints import Above, ClassName, SlicedBy, SliceName, Split, UpTo
from service.jobs.predictions import Order, PredictionList
from service.pages.rendering import PageRoute, render
from service.pagination import After

router = APIRouter(prefix="/jobs", include_in_schema=False, route_class=PageRoute)

IMAGES = 48
LISTED = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Thresholds in the table."""
CURVE = tuple(step / 50 for step in range(51))
"""Thresholds of the curves."""
START = 50
"""Threshold that is shown first, in percent."""
MOST_CLASSES = 200
"""Classes whose thresholds are listed."""


@router.get("/{job_id}/images")
def show_images(
    request: Request,
    job_id: str,
    database: DatabaseDep,
    storage: StorageDep,
    split: Split = "test",
    order: Order = "worst",
    label: ClassName = None,
    predicted: ClassName = None,
    by: SlicedBy = None,
    slice_name: SliceName = None,
    above: Above = None,
    up_to: UpTo = None,
    after: After = None,
) -> HTMLResponse:
    """Show images with what the job's checkpoint took them for: the worst mistakes first, or those of a cell."""
    page, problem = None, None
    try:
        page = predictions.list_predictions(
            *(job_id, database, storage, split, order, label, predicted, by, slice_name, above, up_to),
            limit=IMAGES,
            after=after,
        )
    except PredictionsNotFound as error:
        problem = error.detail
    query = {
        "split": split,
        "order": order,
        "label": label,
        "predicted": predicted,
        "by": by,
        "slice": slice_name,
        "above": above,
        "up_to": up_to,
    }
    return render(
        request,
        "job_mistakes.html" if after is None else "job_mistake_images.html",
        job_id=job_id,
        page=page,
        problem=problem,
        query={name: value for name, value in query.items() if value is not None},
    )


@router.get("/{job_id}/confidence")
def show_confidence(
    request: Request, job_id: str, database: DatabaseDep, storage: StorageDep, split: Split = "test"
) -> HTMLResponse:
    """Show whether probabilities are right as often as they say, what thresholds leave, and how good sets are."""
    try:
        found = predictions.open_list(job_id, database, storage)
    except PredictionsNotFound as error:
        return render(request, "job_confidence.html", problem=error.detail)
    thresholds = confidence.measure_thresholds(found, split, None, LISTED)
    label = thresholds.classes[0].name if thresholds.classes else None
    return render(
        request,
        "job_confidence.html",
        problem=None,
        calibration=confidence.measure_calibration(found, split),
        thresholds=thresholds,
        most_classes=MOST_CLASSES,
        sets=(found.metrics.get(split) or {}).get("sets"),
        job_id=job_id,
        **_collect_curve(found, split, label, START),
    )


@router.get("/{job_id}/threshold")
def show_threshold(
    request: Request,
    job_id: str,
    database: DatabaseDep,
    storage: StorageDep,
    percent: Annotated[int, Query(ge=0, le=100)] = START,
    split: Split = "test",
    label: ClassName = None,
) -> HTMLResponse:
    """Show what one threshold leaves, of all images or of one of several classes, on the curve of all thresholds."""
    found = predictions.open_list(job_id, database, storage)
    if found.file.is_multi_label and label is None:
        raise ThresholdOfWhichClass(
            "Images of this job may have several classes, each with its threshold: send `label`."
        )
    return render(request, "job_threshold.html", job_id=job_id, **_collect_curve(found, split, label, percent))


@router.get("/{job_id}/slices")
def show_slices(
    request: Request,
    job_id: str,
    database: DatabaseDep,
    storage: StorageDep,
    split: Split = "test",
    by: By = "size",
) -> HTMLResponse:
    """Show the accuracy of slices of the images: by class, size, shape, flags, ending or folder."""
    found, problem = None, None
    try:
        found = predictions.get_slices(job_id, database, storage, split, by)
    except PredictionsNotFound as error:
        problem = error.detail
    return render(request, "job_slices.html", job_id=job_id, found=found, problem=problem)


def _collect_curve(found: PredictionList, split: Split, label: str | None, percent: int) -> dict[str, Any]:
    """Collect the curve of thresholds, and the point on it that was chosen."""
    measured = confidence.measure_thresholds(found, split, label, (*CURVE, percent / 100))
    points = measured.classes[0].thresholds if measured.classes else measured.thresholds
    return {
        "split": split,
        "images": measured.images,
        "label": label,
        "percent": percent,
        "curve": points[:-1],
        "chosen": points[-1] if points else None,
    }
