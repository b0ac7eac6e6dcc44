"""Fixtures of all tests: databases of both kinds, settings on a temporary folder, real weights and images."""

from __future__ import annotations

import os

# Before torch is imported: tensors are tiny here, and threads would wait for one another longer than they work.
os.environ["OMP_NUM_THREADS"] = "1"

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import migrations
from service.database import Database
from service.settings import Settings
from tests.support import databases, servers, unreachable_storage

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """Run a real PostgreSQL with a migrated database `template_graft`; gives the URL of its maintenance database."""
    with servers.running(servers.PostgreSQL()) as server:
        migrations.upgrade(databases.create(server.url(), "template_graft"))
        yield server.url()


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """Create a migrated database on PostgreSQL."""
    url = databases.create(postgresql_server, template="template_graft")
    yield url
    databases.drop(postgresql_server, url)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Run a real Redis."""
    with servers.running(servers.Redis()) as server:
        yield server.url()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a migrated database on SQLite, of which tests take copies."""
    file = tmp_path_factory.mktemp("template") / "graft.sqlite"
    migrations.upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """Create a migrated database on SQLite."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'graft.sqlite')}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """Create a migrated database, once of each kind."""
    database = Database(request.getfixturevalue(f"{request.param}_url"))
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings on a temporary folder and a fresh migrated database, once of each kind."""
    return Settings(data=tmp_path / "data", database_url=request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture(name="unreachable_storage")
def _unreachable_storage() -> str:
    """The URL of a storage that does not answer."""
    return unreachable_storage.register()


@pytest.fixture(scope="session")
def material() -> Path:
    """The folder of real weights and images."""
    folder = os.environ.get("GRAFT_MATERIAL")
    if not folder:
        pytest.skip("GRAFT_MATERIAL names no folder of real weights and images")
    return Path(folder)
