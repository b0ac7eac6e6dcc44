"""An application on a fresh database, without workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from service.app import create_app
from service.tables import Backbone, Table
from tests.support.datasets import add_dataset
from tests.support.requests import BACKBONES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI

    from service.database import Database
    from service.settings import Settings


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    """The application."""
    return create_app(settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client of the application."""
    with TestClient(app, "http://127.0.0.1:8000", raise_server_exceptions=False) as client:
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
