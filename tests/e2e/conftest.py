"""Fixtures: running services of both forms, a backbone, an archive and its dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from graft.client import Client
from tests.support import browser as browsers
from tests.support import databases, deployments
from tests.support.images import coloured_classes, write_zip
from tests.support.small_backbone import write_backbone

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser."""
    with browsers.running() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page of the browser, at the address that the module's own fixture gives."""
    with browsers.opened(browser, address) as page:
        yield page


@pytest.fixture(scope="session")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the backbone local/small."""
    folder = tmp_path_factory.mktemp("backbones")
    write_backbone(folder / "small")
    return folder


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of 120 coloured images in three classes."""
    return write_zip(tmp_path_factory.mktemp("images") / "colours.zip", coloured_classes(3, 40))


@pytest.fixture(scope="session", params=["embedded", "production"])
def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, backbones: Path
) -> Iterator[Client]:
    """A client of a running service, of each form."""
    data = tmp_path_factory.mktemp(request.param)
    if request.param == "embedded":
        running = deployments.embedded(data, backbones)
    else:
        # pytest sets this up again after tests of the other form, if a process takes one file after another
        database_url = databases.create(request.getfixturevalue("postgresql_server"))
        running = deployments.production(data, backbones, database_url, request.getfixturevalue("redis_url"))
    with running as address, Client(address) as connected:
        yield connected


@pytest.fixture(scope="session")
def dataset(client: Client, archive: Path) -> str:
    """The id of the archive's dataset, ready."""
    made = client.wait_for_dataset(client.create_dataset(archive)["id"])
    assert made["status"] == "ready", made
    return str(made["id"])
