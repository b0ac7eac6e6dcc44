"""Every query about datasets, and the transitions that end their validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import or_, select
from sqlalchemy.orm import defer

from service import queued_work
from service.backbones import repository as backbones
from service.datasets.errors import DatasetInUse, DatasetNotFound
from service.statuses import DatasetStatus
from service.tables import Dataset, Job

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.orm import Session

    from service.types import DatasetTask


FOLDER = "datasets"
"""The folder of all datasets in the storage."""


def get_folder(dataset_id: str) -> str:
    """Get the folder of the dataset's files in the storage."""
    return f"{FOLDER}/{dataset_id}"


def find_file_keys(session: Session) -> set[str]:
    """Find the storage keys of all files that datasets name."""
    rows = session.execute(select(Dataset.archive, Dataset.pack, Dataset.index, Dataset.skipped))
    return {key for row in rows for key in row if key is not None}


def get(session: Session, dataset_id: str, *, lock: bool = False) -> Dataset:
    """Get a dataset, with `lock` locked until the transaction ends; raises DatasetNotFound."""
    dataset = session.get(Dataset, dataset_id, with_for_update=lock or None)
    if dataset is None:
        raise DatasetNotFound(f"There is no dataset {dataset_id}.")
    return dataset


def find_names(session: Session, ids: Collection[str]) -> dict[str, str]:
    """Find the names of datasets by their ids."""
    rows = session.execute(select(Dataset.id, Dataset.name).where(Dataset.id.in_(ids)))
    return {row.id: row.name for row in rows}


def find_page(session: Session, *, limit: int, after: str | None = None, status: str | None = None) -> list[Dataset]:
    """Find the newest `limit` + 1 datasets before `after` that match every filter, without their reports."""
    query = select(Dataset).options(defer(Dataset.report)).order_by(Dataset.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(Dataset.id < after)
    if status is not None:
        query = query.where(Dataset.status == status)
    return list(session.scalars(query))


def delete(session: Session, dataset_id: str) -> None:
    """Delete the dataset; raises DatasetNotFound, DatasetInUse."""
    dataset = get(session, dataset_id, lock=True)
    uses = or_(Job.dataset_id == dataset_id, Job.other_dataset_id == dataset_id)
    job = session.scalar(select(Job.id).where(uses).limit(1))
    if job is not None:
        raise DatasetInUse(f"Job {job} uses dataset {dataset_id}. Delete its jobs first.")
    for table in queued_work.TABLES:
        work = queued_work.find_unfinished_of_dataset(session, table, dataset_id)
        if work is not None:
            raise DatasetInUse(
                f"{table.noun} {work} reads the images of dataset {dataset_id}; wait until it has ended, or cancel it."
            )
    backbone = backbones.find_pretrained_on(session, dataset_id)
    if backbone is not None:
        raise DatasetInUse(
            f"Backbone {backbone} is being pretrained on dataset {dataset_id}; wait until it is ready, or delete it."
        )
    session.delete(dataset)


def accept(
    session: Session,
    dataset: Dataset,
    *,
    pack: str,
    index: str,
    skipped: str,
    task: DatasetTask,
    classes: list[dict[str, Any]],
    images: int,
    digest: str,
    report: dict[str, Any],
) -> None:
    """Accept the locked dataset: validating → ready."""
    dataset.pack, dataset.index, dataset.skipped = pack, index, skipped
    dataset.task, dataset.classes = task, classes
    dataset.images, dataset.digest, dataset.report = images, digest, report
    dataset.archive = None
    dataset.end(session, DatasetStatus.READY)


def reject(session: Session, dataset: Dataset, code: str, message: str) -> None:
    """Reject the locked dataset: validating → failed."""
    dataset.error = {"code": code, "message": message}
    dataset.archive = None
    dataset.end(session, DatasetStatus.FAILED)
