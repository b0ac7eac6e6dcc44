"""Views of datasets: uploading, the validation as it goes on, the images, and the files that are not used."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BeforeValidator

from service.datasets import endpoints as datasets
from service.dependencies import DatabaseDep, SettingsDep, StorageDep
from service.jobs import endpoints as jobs
from service.pages.rendering import PageRoute, render
from service.pagination import After, Page, shaped_like
from service.query_parameters import none_if_empty
from service.statuses import DatasetStatus

router = APIRouter(prefix="/data", include_in_schema=False, route_class=PageRoute)

ROWS = 50
IMAGES = 60
FLAGS = ("grayscale", "alpha", "rotated", "deep", "copies", "small", "elongated", "unlabelled")
SHOWN_CLASSES = 30
"""Classes whose counts are shown before one asks for all."""

Label = Annotated[str | None, BeforeValidator(none_if_empty)]
Split = Annotated[Literal["train", "validation", "test"] | None, BeforeValidator(none_if_empty)]


@router.get("")
def show_datasets(
    request: Request, database: DatabaseDep, settings: SettingsDep, after: Annotated[After, shaped_like("ds")] = None
) -> HTMLResponse:
    """Show where images are dropped, and all datasets."""
    page = datasets.list_datasets(database, limit=ROWS, after=after)
    return render(request, "datasets.html", page=page, max_bytes=settings.max_archive_bytes)


@router.get("/{dataset_id}")
def show_dataset(request: Request, dataset_id: str, database: DatabaseDep, storage: StorageDep) -> HTMLResponse:
    """Show a dataset: its counts, what was found, its first images, and the jobs that use it."""
    dataset = datasets.get_dataset(dataset_id, database)
    images, splits = None, {}
    if dataset.status == DatasetStatus.READY:
        found = datasets.open_images(dataset_id, database, storage)
        images, splits = Page.from_items(found.read_page(IMAGES, None), IMAGES), found.count_splits()
    used = jobs.list_jobs(request, database, limit=6, dataset=dataset_id).data
    most = max((entry.count for entry in dataset.classes), default=0)
    return render(
        request,
        "dataset.html",
        dataset=dataset,
        images=images,
        splits=splits,
        jobs=used,
        most=most,
        shown=SHOWN_CLASSES,
        label=None,
        split=None,
        flag=None,
        flags=FLAGS,
        names={dataset_id: dataset.name or dataset_id},
    )


@router.get("/{dataset_id}/state")
def show_state(request: Request, dataset_id: str, database: DatabaseDep) -> HTMLResponse:
    """Show the state of a validation; when it has ended, have the whole view loaded again."""
    dataset = datasets.get_dataset(dataset_id, database)
    response = render(request, "dataset_state.html", dataset=dataset)
    if dataset.status != DatasetStatus.VALIDATING:
        response.headers["HX-Refresh"] = "true"
    return response


@router.get("/{dataset_id}/images")
def show_images(
    request: Request,
    dataset_id: str,
    database: DatabaseDep,
    storage: StorageDep,
    label: Label = None,
    split: Split = None,
    flag: Label = None,
    after: After = None,
) -> HTMLResponse:
    """Show a page of images that match the filters: the whole list, or what follows an image."""
    images = datasets.list_images(
        dataset_id, database, storage, limit=IMAGES, after=after, label=label, split=split, flag=flag
    )
    dataset = datasets.get_dataset(dataset_id, database)
    template = "gallery.html" if after is None else "gallery_images.html"
    return render(request, template, dataset=dataset, images=images, label=label, split=split, flag=flag)


@router.get("/{dataset_id}/skipped")
def show_skipped(
    request: Request,
    dataset_id: str,
    database: DatabaseDep,
    storage: StorageDep,
    after: Annotated[str | None, Query()] = None,
) -> HTMLResponse:
    """Show the files that are not used, and why."""
    dataset = datasets.get_dataset(dataset_id, database)
    page = datasets.list_skipped_files(dataset_id, request, database, storage, limit=ROWS, after=after)
    return render(request, "skipped.html", dataset=dataset, page=page)
