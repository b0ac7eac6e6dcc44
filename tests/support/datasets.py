"""Rows of datasets for tests of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.datasets import repository
from service.tables import Dataset, new_id

if TYPE_CHECKING:
    from service.database import Database


def add_dataset(database: Database, status: str = "ready", **columns: Any) -> str:
    """Add a dataset as validation leaves it; gives its id."""
    with database.writing() as session:
        row = Dataset(id=new_id("ds"), name="d", status="validating", attempt=1, crashes=0, images=0, classes=[])
        session.add(row)
        if status == "ready":
            repository.accept(
                session,
                row,
                pack="p",
                index="i",
                skipped="s",
                task="single_label",
                classes=[{"name": "cat", "count": 5}, {"name": "dog", "count": 5}],
                images=10,
                digest="0" * 64,
                report={"files": 10, "accepted": 10, "counts": {}, "skipped": []},
            )
        if status == "failed":
            repository.reject(session, row, "too_few_classes", "The only class is cat.")
        for name, value in columns.items():
            setattr(row, name, value)
        return row.id
