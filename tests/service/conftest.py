"""An application on a fresh database, without workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from service.app import create_app
from service.datasets import repository as datasets
from service.tables import Backbone, Table, new_id
from service.tables import Dataset as DatasetRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI

    from service.database import Database
    from service.settings import Settings

BACKBONES = ["timm/resnet18.a1_in1k", "timm/resnet50.a1_in1k", "timm/vit_tiny_patch16_224.augreg_in21k", "local/own"]


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    """The application."""
    return create_app(settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client of the application."""
    with TestClient(app, raise_server_exceptions=False) as client:
        with app.state.database.writing() as session:
            session.add_all(
                Backbone(
                    id=name,
                    source=name.split("/")[0],
                    architecture=name.split("/")[1].split(".")[0],
                    parameters=1000 * (place + 1),
                    input_size=[3, 224, 224],
                    status="listed",
                    attempt=0,
                    crashes=0,
                )
                for place, name in enumerate(BACKBONES)
            )
        yield client


@pytest.fixture
def db(app: FastAPI, client: TestClient) -> Database:
    """The database of the application."""
    database: Database = app.state.database
    return database


@pytest.fixture
def rows(db: Database) -> Callable[[], dict[str, int]]:
    """Count the rows of each table, to show that nothing was written."""

    def count() -> dict[str, int]:
        with db.reading() as session:
            tables = Table.metadata.sorted_tables
            return {table.name: session.scalar(select(func.count()).select_from(table)) or 0 for table in tables}

    return count


@pytest.fixture
def dataset(db: Database) -> str:
    """The id of a dataset that is ready."""
    return add_dataset(db)


def add_dataset(database: Database, status: str = "ready", **columns: Any) -> str:
    """A dataset as validation leaves it; gives its id."""
    with database.writing() as session:
        row = DatasetRow(id=new_id("ds"), name="d", status="validating", attempt=1, crashes=0, images=0, classes=[])
        session.add(row)
        if status == "ready":
            datasets.accept(
                session,
                row,
                pack="p",
                index="i",
                task="single_label",
                classes=[{"name": "cat", "count": 5}, {"name": "dog", "count": 5}],
                images=10,
                digest="0" * 64,
                report={"files": 10, "accepted": 10, "counts": {}, "skipped": []},
            )
        if status == "failed":
            datasets.reject(session, row, "too_few_classes", "The only class is cat.")
        for name, value in columns.items():
            setattr(row, name, value)
        return row.id


def problem(response: Any, status: int, code: str, *says: str) -> dict[str, Any]:
    """The answer is a problem+json of this status and code whose detail says all of this."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "instance", "code"} <= body.keys()
    assert body["code"] == code
    for part in says:
        assert part in body["detail"]
    return body
